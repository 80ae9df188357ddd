"""Lattices by brute force: every path, one after another, in float64.

A path is the list of its arcs. What the dynamic programmes compute at once is here a
sum over paths: so it shares no recursion with them.
"""

import itertools
import math

import numpy as np


def log_total(log_probs):
    """The logarithm of a sum of probabilities; -inf of none."""
    peak = max(log_probs, default=-math.inf)
    if peak == -math.inf:
        return peak
    return peak + math.log(math.fsum(math.exp(x - peak) for x in log_probs))


def shares(log_probs):
    """The probability of each path, given that one of them was taken."""
    total = log_total(log_probs)
    return [0 if total == -math.inf else math.exp(x - total) for x in log_probs]


def entropy(log_probs):
    """Entropy of the paths, in nats."""
    return -math.fsum(p * math.log(p) for p in shares(log_probs) if p > 0)


# --- transducer ---------------------------------------------------------------


def transducer_paths(T, U):
    """Graves 2012, figure 1: each path as arcs ("blank" | "label", t, u).

    A path has T blanks, the last of them at (T - 1, U), and U labels.
    """
    if T == 0:
        return
    # At which of the first T - 1 + U moves is a label emitted?
    for labels in itertools.combinations(range(T - 1 + U), U):
        t, u, arcs = 0, 0, []
        for move in range(T + U):
            kind = "label" if move in labels else "blank"
            arcs.append((kind, t, u))
            t, u = (t, u + 1) if kind == "label" else (t + 1, u)
        yield arcs


def transducer(blank, label, T, U):
    """All that can be asked of a lattice [T, U + 1] and [T, U], a dict."""
    arcs = {"blank": blank, "label": label}
    paths = list(transducer_paths(T, U))
    scores = [math.fsum(arcs[k][t, u] for k, t, u in path) for path in paths]
    posterior = {k: np.zeros(x.shape) for k, x in arcs.items()}
    for path, share in zip(paths, shares(scores), strict=True):
        for kind, t, u in path:
            posterior[kind][t, u] += share
    best = int(np.argmax(scores)) if scores else None
    return {
        "log_likelihood": log_total(scores),
        "posteriors": posterior,
        "entropy": entropy(scores),
        "best": -math.inf if best is None else scores[best],
        "frames": [emission_frames(path) for path in paths],
        "scores": scores,
    }


def emission_frames(path):
    """The frame of each label of a path."""
    return tuple(t for kind, t, _ in path if kind == "label")


# --- cursors over the source --------------------------------------------------


def hmm(initial, transitions, emissions, T):
    """All that can be asked of a first-order cursor; transitions [T - 1, S, S]."""
    S = emissions.shape[1]
    paths = list(itertools.product(range(S), repeat=T))
    scores = [_cursor_score(initial, transitions, emissions, p) for p in paths]
    nodes = np.zeros(emissions.shape)
    pairs = np.zeros(transitions.shape)
    for path, share in zip(paths, shares(scores), strict=True):
        for t, s in enumerate(path):
            nodes[t, s] += share
            if t:
                pairs[t - 1, path[t - 1], s] += share
    return {
        "log_likelihood": log_total(scores),
        "nodes": nodes,
        "pairs": pairs,
        "entropy": entropy(scores),
        "best": max(scores),
        "paths": paths,
        "scores": scores,
    }


def _cursor_score(initial, transitions, emissions, path):
    score = initial[path[0]] if path else 0.0
    for t, s in enumerate(path):
        score += emissions[t, s]
        if t:
            score += transitions[t - 1, path[t - 1], s]
    return score


# --- CTC ----------------------------------------------------------------------


def ctc(log_probs, labels, blank):
    """Graves et al. 2006, eqs. 2 and 3: labellings of all frames that collapse so."""
    T, V = log_probs.shape
    scores, nodes = [], np.zeros((T, V))
    paths = [
        path
        for path in itertools.product(range(V), repeat=T)
        if collapse(path, blank) == list(labels)
    ]
    scores = [math.fsum(log_probs[t, v] for t, v in enumerate(p)) for p in paths]
    for path, share in zip(paths, shares(scores), strict=True):
        for t, v in enumerate(path):
            nodes[t, v] += share
    best = max(scores, default=-math.inf)
    return {"log_likelihood": log_total(scores), "nodes": nodes, "best": best}


def collapse(path, blank):
    """Repeats become one, then blanks go."""
    return [v for v, _ in itertools.groupby(path) if v != blank]
