"""The marginalised cursor as a sum over its paths: one sentence, float64.

Parameters are one flat dict, as in `tests/oracle_models.py`. Each source position has a
softmax of its own over the vocabulary, and each path of the cursor is scored by itself.
"""

import numpy as np

from tests import oracle_lattice, oracle_models


def log_softmax(x):
    """The logarithm of a softmax."""
    return x - oracle_lattice.log_total(list(x))


def half_of_logits(p, side, *inputs):
    """20 tanh(W_o tanh(U x + b) / 20): one of the two halves, which are added."""
    hidden = np.tanh(p[f"{side}.U"] @ np.concatenate(inputs) + p[f"{side}.b_t"])
    return 20 * np.tanh((p[f"{side}.W_o"] @ hidden + p[f"{side}.b_o"]) / 20)


def moves(p, lowest, clip, content, place):
    """Log-probabilities of the next position, from one position."""
    scores = np.full(len(content), -np.inf)
    for s in range(len(content)):
        entry = s - place - lowest
        entry = min(max(entry, 0), len(p["jumps"]) - 1) if clip else entry
        if 0 <= entry < len(p["jumps"]):
            scores[s] = p["jumps"][entry] + content[s]
    return log_softmax(scores)


def chain(p, source, previous, target, lowest, clip):
    """Wu & Cotterell 2019, eq. 2: p(a_1), p(a_t | a_{t-1}) and p(y_t | a_t)."""
    annotations = oracle_models.encode(p, source)
    decoder = oracle_models.layers(p, "decoder")
    n = oracle_models.width(decoder[0])
    first = np.tanh(p["W_s"] @ annotations[0, n:])
    carries = [oracle_models.begin(decoder[0], first)]
    keys = [p["K"] @ h for h in annotations]
    of_source = [
        half_of_logits(p, "source", h, p["E_x"][x])
        for h, x in zip(annotations, source, strict=True)
    ]
    initial, transitions, emissions = None, [], []
    for t, token in enumerate(previous):
        embedded = p["E_y"][token]
        carries, h = oracle_models.advance_stack(decoder, carries, ("W", embedded))
        content = np.array([k @ (p["Q"] @ h) for k in keys]) / np.sqrt(len(p["Q"]))
        if t == 0:
            initial = moves(p, lowest, clip, content, -1)
        else:
            rows = [moves(p, lowest, clip, content, s) for s in range(len(source))]
            transitions.append(rows)
        of_target = half_of_logits(p, "target", h, embedded)
        emissions.append([log_softmax(of_target + s)[target[t]] for s in of_source])
    S = len(source)
    return initial, np.reshape(transitions, (-1, S, S)), np.array(emissions)


def sentence(p, source, previous, target, lowest, clip):
    """Log-likelihood, and the posterior of each position at each step."""
    arguments = chain(p, source, previous, target, lowest, clip)
    return oracle_lattice.hmm(*arguments, len(target))


def predictions(p, source, previous, target, lowest, clip):
    """p(y_t = v | y_<t) for every token v, [T, V]: the ratio of two likelihoods."""
    rows = []
    for t in range(len(target)):
        row, before = [], 0.0
        if t > 0:
            given = previous[:t], target[:t], lowest, clip
            before = sentence(p, source, *given)["log_likelihood"]
        for v in range(len(p["E_y"])):
            tried = [*target[:t], v]
            after = sentence(p, source, previous[: t + 1], tried, lowest, clip)
            row.append(after["log_likelihood"] - before)
        rows.append(row)
    return np.array(rows)
