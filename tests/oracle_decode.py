"""Decoding as slow loops: the oracle of every decoder.

NumPy, float64, one row at a time, hypotheses as lists of ids. This file imports
nothing from attnjax; a model is any object with the arrays `embed`, `recur`, `emit`,
`keys` and `mask` (see `tests/decode/cases.py`).
"""

import math
from typing import NamedTuple

import numpy as np


def teacher_force(model, row, tokens, bos=1):
    """Teacher-forces one row: log-probabilities [n + 1, V], weights [n + 1, S]."""
    D = model.recur.shape[0]
    h, count, odd = np.zeros(D), 0, (False, False)
    log_probs, weights = [], []
    for token in [bos, *tokens]:
        h = np.tanh(model.embed[token] + h @ model.recur + np.sin(count))
        h = h + (0.5 if odd[0] else 0.0) - (0.3 if odd[1] else 0.0)
        w = np.where(model.mask[row], np.exp(model.keys[row] @ h), 0.0)
        w = w / w.sum()
        logits = (h + w @ model.keys[row]) @ model.emit
        log_probs.append(logits - np.log(np.exp(logits).sum()))
        weights.append(w)
        count, odd = count + token, (token % 2 == 1, odd[0])
    return np.stack(log_probs), np.stack(weights)


# --- beam search ----------------------------------------------------------------


class Search(NamedTuple):
    """The arguments of a search in one row."""

    max_length: int = 5
    min_length: int = 0
    alpha: float = 0.0
    beta: float = 0.0
    words: tuple[int, ...] = (4, 6)  # the free ids beside EOS
    no_repeat_ngram_size: int = 0
    prefix: tuple[int, ...] = ()
    eos: int = 2


class Found(NamedTuple):
    """One hypothesis."""

    score: float
    log_prob: float
    tokens: list[int]


def repeats(tokens, n):
    """Whether the last n-gram occurs earlier, too."""
    before = [tokens[i : i + n] for i in range(len(tokens) - n)]
    return len(tokens) > n > 0 and tokens[-n:] in before


def continuations(y, search):
    """The ids that may follow the tokens y."""
    n, eos = len(y) + 1, search.eos
    if n <= len(search.prefix):
        forced = search.prefix[n - 1]
        return [forced] if forced == eos or n < search.max_length else []
    if n == search.max_length:
        return [eos]
    words = [
        v for v in search.words if not repeats([*y, v], search.no_repeat_ngram_size)
    ]
    return [eos, *words] if n >= search.min_length else words


def finish(model, row, y, search):
    """Scores a finished hypothesis by Wu et al. 2016, eq. 14."""
    log_probs, weights = teacher_force(model, row, y[:-1])
    log_prob = sum(log_probs[i, v] for i, v in enumerate(y))
    coverage = weights.sum(axis=0)
    real = np.flatnonzero(model.mask[row])
    coverage_penalty = sum(math.log(min(coverage[j], 1.0)) for j in real)
    length_penalty = (5 + len(y)) ** search.alpha / (5 + 1) ** search.alpha
    score = log_prob / length_penalty + search.beta * coverage_penalty
    return Found(score, log_prob, y)


def every_hypothesis(model, row, search):
    """Exhaustive search; best first."""

    def extend(y):
        if y and y[-1] == search.eos:
            yield y
        elif len(y) < search.max_length:
            for v in continuations(y, search):
                yield from extend([*y, v])

    found = [finish(model, row, y, search) for y in extend([])]
    return sorted(found, key=lambda x: -x.score)


def plain_beam(model, row, search, K):
    """Beam search with lists, without early stopping; best first."""
    live, finished = [(0.0, [])], []
    for _ in range(search.max_length):
        candidates = []
        for log_prob, y in live:
            gains = teacher_force(model, row, y)[0][-1]
            more = continuations(y, search)
            candidates += [(log_prob + gains[v], [*y, v]) for v in more]
        best = sorted(candidates, key=lambda x: -x[0])[:K]
        live = [x for x in best if x[1][-1] != search.eos]
        ended = [y for _, y in best if y[-1] == search.eos]
        finished += [finish(model, row, y, search) for y in ended]
    return sorted(finished, key=lambda x: -x.score)


# --- truncated sampling -----------------------------------------------------------


def top_k(p, k):
    """Fan et al. 2018: the k most likely, renormalised; ties go to the smaller id."""
    best = sorted(range(len(p)), key=lambda v: (-p[v], v))[:k]
    return _only(p, best)


def top_p(p, mass):
    """Holtzman et al. 2020, eq. 2: ids by probability, until they sum to `mass`."""
    kept, total = [], 0.0
    for v in sorted(range(len(p)), key=lambda v: (-p[v], v)):
        if total >= mass:
            break
        kept.append(v)
        total += p[v]
    return _only(p, kept)


def min_p(p, ratio):
    """Nguyen et al. 2024: ids of at least `ratio` times the highest probability."""
    return _only(p, [v for v in range(len(p)) if p[v] >= ratio * max(p)])


def _only(p, kept):
    total = sum(p[v] for v in kept)
    return np.array([p[v] / total if v in kept else 0.0 for v in range(len(p))])


def softmax(logits):
    """Probabilities of logits, some of which may be -inf."""
    e = np.exp(np.asarray(logits, np.float64))
    return e / e.sum()


# --- ensembles ----------------------------------------------------------------------


def combine_distributions(distributions, coefficients, combine):
    """Combines distributions [N, V] by the geometric or the arithmetic mean."""
    coefficients = np.asarray(coefficients, np.float64) / np.sum(coefficients)
    columns = np.asarray(distributions, np.float64).T
    if combine == "linear":
        return np.array([sum(coefficients * p) for p in columns])
    product = np.array([np.prod(p**coefficients) for p in columns])
    return product / product.sum()
