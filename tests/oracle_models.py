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


def recur(p, inputs, width):
    """Bahdanau 2015, A.2.1: the states of one direction, from h_0 = 0."""
    state, states = np.zeros(width), []
    for x in inputs:
        state = oracles.gru(p, state, ("W", x))
        states.append(state)
    return states


def encode(p, source):
    """Bahdanau 2015, A.2.1: h_j = [forward h_j; backward h_j], shape [S, 2n]."""
    embedded = [p["E_x"][i] for i in source]
    n = p["forward.U"].shape[0]
    forward = recur(part(p, "forward"), embedded, n)
    backward = recur(part(p, "backward"), embedded[::-1], n)[::-1]
    return np.array(
        [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]
    )


def deep_output(p, state, embedded, context):
    """Bahdanau 2015, A.2.2: t~ = U_o s + V_o E y + C_o c, maxout in pairs, W_o t."""
    t = p["U_o"] @ state + p["V_o"] @ embedded + p["C_o"] @ context
    t = t + p.get("b_t", 0)
    t = np.array([max(t[2 * j], t[2 * j + 1]) for j in range(len(t) // 2)])
    return p["W_o"] @ t + p.get("b_o", 0)


def additive_weights(p, i, state, annotations):
    """Bahdanau 2015, A.1.2: e_ij = v_a' tanh(W_a s_{i-1} + U_a h_j), softmax over j."""
    del i
    keys = np.array([p["U_a"] @ h for h in annotations])
    query = p["W_a"] @ state + p.get("b_a", 0)
    scores = oracles.additive(query, keys, p["v_a"])
    return oracles.masked_softmax(scores, np.ones(len(annotations), bool))


def rnnsearch(p, source, previous, weigh=additive_weights):
    """Bahdanau 2015, appendix A: logits [T, V] and alignment [T, S] of one sentence.

    `previous` is the target shifted right, beginning with BOS. The output reads
    s_{i-1}, as the appendix has it. `weigh(p, i, s_{i-1}, annotations)` makes
    the weights; with it the same loop serves every alignment function.
    """
    annotations = encode(p, source)
    n = p["forward.U"].shape[0]
    state = np.tanh(p["W_s"] @ annotations[0, n:] + p.get("b_s", 0))
    logits, alignment = [], []
    for i, token in enumerate(previous):
        embedded = p["E_y"][token]
        weights = weigh(p, i, state, annotations)
        context = oracles.read(weights, annotations)
        logits.append(deep_output(p, state, embedded, context))
        alignment.append(weights)
        inputs = ("W", embedded), ("C", context)
        state = oracles.gru(part(p, "decoder"), state, *inputs)
    return np.array(logits), np.array(alignment)


def rnn_encoder_decoder(p, source, previous):
    """Cho 2014 (1406.1078), appendix A.1, logits [T, V] of one sentence.

    c = tanh(V h_N), s_0 = tanh(V' c); every step's gates and the output read c;
    the output reads the new state s_t. Two things are Bahdanau's (2015): the
    z of `oracles.gru`, and a decoder that resets s before U (Cho resets
    U s + C c after the product; section A.1.2).
    """
    embedded = [p["E_x"][i] for i in source]
    last = recur(part(p, "encoder"), embedded, p["encoder.U"].shape[0])[-1]
    context = np.tanh(p["V"] @ last + p.get("b_c", 0))
    state = np.tanh(p["V_s"] @ context + p.get("b_s", 0))
    logits = []
    for token in previous:
        y = p["E_y"][token]
        state = oracles.gru(part(p, "decoder"), state, ("W", y), ("C", context))
        logits.append(deep_output(p, state, y, context))
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
