"""Whole systems as slow loops: one sentence, no padding, float64.

Parameters are one flat dict, "part.name" -> array, named by the papers' letters
and shaped as the papers print them (`W @ x`). Biases, which the papers leave
out "to increase readability", are 0 where the dict has none.
"""

import numpy as np

from tests import oracles


def part(p, name):
    """The parameters of one part: {"forward.W": x} -> {"W": x}."""
    return {
        key.removeprefix(name + "."): array
        for key, array in p.items()
        if key.startswith(name + ".")
    }


def layers(p, name):
    """The parameters of a stack, bottom first: "name.W", "name.1.W", "name.2.W", ..."""
    found = [part(p, name)]
    while part(p, f"{name}.{len(found)}"):
        found.append(part(p, f"{name}.{len(found)}"))
    return found


def begin(p, hidden):
    """The carry of a GRU, or of an LSTM with an empty cell, that has a hidden state."""
    return hidden if "U_z" in p else (hidden, np.zeros_like(hidden))


def advance(p, carry, *inputs):
    """One step of the GRU or LSTM in `p`: the carry and the hidden state.

    An LSTM with several inputs is one with the inputs concatenated: [W C] [y; c].
    """
    if "U_z" in p:
        carry = oracles.gru(p, carry, *inputs)
        return carry, carry
    joined = dict(p)
    for gate in ("_i", "_f", "_g", "_o"):
        joined["W" + gate] = np.hstack([p[name + gate] for name, _ in inputs])
    carry = oracles.lstm(joined, carry, np.concatenate([x for _, x in inputs]))
    return carry, carry[0]


def advance_stack(ps, carries, *inputs):
    """One step of a stack: each layer takes the hidden state of the layer below."""
    new = []
    for p, carry in zip(ps, carries, strict=True):
        carry, hidden = advance(p, carry, *inputs)
        new.append(carry)
        inputs = (("W", hidden),)
    return new, hidden


def width(p):
    """n, the width of a cell's hidden state."""
    return next(x for key, x in p.items() if key.startswith("U")).shape[0]


def recur(p, inputs):
    """Bahdanau 2015, A.2.1: the hidden states of one direction, from h_0 = 0."""
    carry, states = begin(p, np.zeros(width(p))), []
    for x in inputs:
        carry, hidden = advance(p, carry, ("W", x))
        states.append(hidden)
    return states


def encode(p, source):
    """Bahdanau 2015, A.2.1: h_j = [forward h_j; backward h_j], shape [S, 2n].

    A further layer takes h_j of the layer below (Graves, Mohamed & Hinton 2013).
    """
    states = [p["E_x"][i] for i in source]
    for one, other in zip(layers(p, "forward"), layers(p, "backward"), strict=True):
        forward, backward = recur(one, states), recur(other, states[::-1])[::-1]
        states = [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]
    return np.array(states)


def deep_output(p, state, embedded, context):
    """Bahdanau 2015, A.2.2: t~ = U_o s + V_o E y + C_o c, maxout in pairs, W_o t."""
    t = p["U_o"] @ state + p["V_o"] @ embedded + p["C_o"] @ context
    t = t + p.get("b_t", 0)
    t = np.array([max(t[2 * j], t[2 * j + 1]) for j in range(len(t) // 2)])
    return p["W_o"] @ t + p.get("b_o", 0)


def additive_weights(p, i, state, annotations, previous=None):
    """Bahdanau 2015, A.1.2: e_ij = v_a' tanh(W_a s_{i-1} + U_a h_j), softmax over j."""
    del i, previous
    keys = np.array([p["U_a"] @ h for h in annotations])
    query = p["W_a"] @ state + p.get("b_a", 0)
    scores = oracles.additive(query, keys, p["v_a"])
    return oracles.masked_softmax(scores, np.ones(len(annotations), bool))


def rnnsearch(p, source, previous, weigh=additive_weights):
    """Bahdanau 2015, appendix A: logits [T, V] and alignment [T, S] of one sentence.

    `previous` is the target shifted right, beginning with BOS. The output layer takes
    s_{i-1}, as the appendix has it. `weigh(p, i, s_{i-1}, annotations, last)` makes
    the weights, `last` being those of the last step and None at first; with it the
    same loop serves every aligner. In a stack s is the top layer's, c enters the
    bottom layer, and W_s has a block of rows for each layer.
    """
    annotations, decoder = encode(p, source), layers(p, "decoder")
    n = width(decoder[0])
    first = np.tanh(p["W_s"] @ annotations[0, n:] + p.get("b_s", 0))
    carries = [
        begin(*x) for x in zip(decoder, np.split(first, len(decoder)), strict=True)
    ]
    state, weights = first[-n:], None
    logits, alignment = [], []
    for i, token in enumerate(previous):
        embedded = p["E_y"][token]
        weights = weigh(p, i, state, annotations, weights)
        context = oracles.read(weights, annotations)
        logits.append(deep_output(p, state, embedded, context))
        alignment.append(weights)
        inputs = ("W", embedded), ("C", context)
        carries, state = advance_stack(decoder, carries, *inputs)
    return np.array(logits), np.array(alignment)


def rnn_encoder_decoder(p, source, previous):
    """Cho 2014 (1406.1078), appendix A.1, logits [T, V] of one sentence.

    c = tanh(V h_N), s_0 = tanh(V' c); every step's gates and the output layer take c;
    the output layer takes the new state s_t. Two things are Bahdanau's (2015): the
    z of `oracles.gru`, and a decoder that resets s before U (Cho resets
    U s + C c after the product; section A.1.2). In a stack h_N and s_t are the top
    layers', c enters the bottom layer, and V' has a block of rows for each layer.
    """
    states, decoder = [p["E_x"][i] for i in source], layers(p, "decoder")
    for layer in layers(p, "encoder"):
        states = recur(layer, states)
    context = np.tanh(p["V"] @ states[-1] + p.get("b_c", 0))
    first = np.tanh(p["V_s"] @ context + p.get("b_s", 0))
    carries = [
        begin(*x) for x in zip(decoder, np.split(first, len(decoder)), strict=True)
    ]
    logits = []
    for token in previous:
        y = p["E_y"][token]
        carries, state = advance_stack(decoder, carries, ("W", y), ("C", context))
        logits.append(deep_output(p, state, y, context))
    return np.array(logits)


def seq2seq(p, source, previous, reverse=True):
    """Sutskever 2014 (1409.3215), sections 2 and 3.3: logits [T, V] of one sentence.

    The source is read from its last token to its first. Every layer of the decoder
    begins with the whole last state, h and c, of the layer of the encoder beside it.
    """
    encoder, decoder = layers(p, "encoder"), layers(p, "decoder")
    carries = [begin(layer, np.zeros(width(layer))) for layer in encoder]
    for token in source[::-1] if reverse else source:
        carries, _ = advance_stack(encoder, carries, ("W", p["E_x"][token]))
    logits = []
    for token in previous:
        carries, state = advance_stack(decoder, carries, ("W", p["E_y"][token]))
        logits.append(p["W_o"] @ state + p["b_o"])
    return np.array(logits)


def luong_step(p, carry, y, keys, values, score):
    """Luong 2015, section 3: input feeding (3.3), eq. 7 and eq. 5.

    carry = (h, cell, h~). h_t = LSTM([y; h~_{t-1}]), a_t = softmax(score(h_t, keys)),
    h~_t = tanh(W_c [c_t; h_t]). Returns the carry, the context and the weights.
    """
    h, cell, attentional = carry
    x = np.concatenate([y, attentional])
    h, cell = oracles.lstm(part(p, "lstm"), (h, cell), x)
    weights = oracles.masked_softmax(score(h, keys), np.ones(len(keys), bool))
    context = oracles.read(weights, values)
    attentional = np.tanh(p["W_c"] @ np.concatenate([context, h]) + p.get("b_c", 0))
    return (h, cell, attentional), context, weights


def sentence_loss(logits, target, smoothing=0.0):
    """-log p(y | x) in nats, summed over the sentence."""
    return sum(
        oracles.token_cross_entropy(row, label, smoothing)
        for row, label in zip(logits, target, strict=True)
    )
