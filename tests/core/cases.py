"""The table that the contract is tested over: every score, and every weighting."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import attend as attention
from attnjax.core import scores, weights
from tests import oracles
from tests.arg_specs import ATTENTION

_, T, S, _, D, E = ATTENTION  # 5 targets, 7 keys, widths 11 and 13
K, A = 3, 2  # width of keys that need not match the query, of the tanh network


def draw(seed: int, *shape: int) -> np.ndarray:
    """Standard normal float64 numbers, the same in every test run."""
    return np.random.default_rng(seed).standard_normal(shape)


MATRIX, CONCAT, V_SHORT, V = draw(1, D, K), draw(2, D + K, A), draw(3, A), draw(4, D)
CAP, SINK = 0.7, 0.3


def _bound(function, *parameters):
    """Binds parameters in the dtype of the query, as a model would hold them."""

    def score(query, keys):
        return function(query, keys, *(jnp.asarray(p, query.dtype) for p in parameters))

    return score


def with_sink(scores, mask=None):
    """Binds the sink in the dtype of the scores, as a model would hold it."""
    sink = jnp.asarray(SINK, scores.dtype)
    return weights.softmax_with_sink(scores, mask, sink=sink)


def _with_sink_oracle(scores, mask):
    """A softmax over one position more, which reads nothing where none is open."""
    beside = oracles.masked_softmax(np.append(scores, SINK), np.append(mask, True))
    return beside[:-1]


class Score(NamedTuple):
    """One score and the loop it is held to; add a row, inherit every law."""

    function: object
    oracle: object
    width: int = D  # of a key


SCORES = {
    "additive": Score(
        _bound(scores.additive, V), lambda q, k: oracles.additive(q, k, V)
    ),
    "dot": Score(scores.dot, oracles.dot),
    "scaled_dot": Score(scores.scaled_dot, oracles.scaled_dot),
    "cosine": Score(scores.cosine, oracles.cosine),
    "bilinear": Score(
        _bound(scores.bilinear, MATRIX), lambda q, k: oracles.bilinear(q, k, MATRIX), K
    ),
    "concat": Score(
        _bound(scores.concat, CONCAT, V_SHORT),
        lambda q, k: oracles.concat(q, k, CONCAT.T, V_SHORT),
        K,
    ),
    "softcap": Score(
        scores.softcap(scores.scaled_dot, cap=CAP),
        lambda q, k: CAP * np.tanh(oracles.scaled_dot(q, k) / CAP),
    ),
}
WEIGHTINGS = {
    "masked_softmax": (weights.masked_softmax, oracles.masked_softmax),
    "sparsemax": (weights.sparsemax, oracles.sparsemax),
    "hardmax": (weights.hardmax, oracles.hardmax),
    "sigmoid": (weights.sigmoid, oracles.sigmoid),
    "softmax_with_sink": (with_sink, _with_sink_oracle),
}
SUM_TO_ONE = {"masked_softmax", "sparsemax", "hardmax"}

MASK = np.array([True, False, True, True, False, True, True])
EMPTY = np.zeros(S, bool)


class Case:
    """One score and one weighting, with the functions that all laws share.

    `attend` and `gradients` are jitted once per case, so that a law costs a call
    and not a compilation.
    """

    def __init__(self, score: str, weighting: str) -> None:
        self.score, self.score_oracle, self.width = SCORES[score]
        self.weighting, self.weighting_oracle = WEIGHTINGS[weighting]
        self.sums_to_one = weighting in SUM_TO_ONE
        self.attend = jax.jit(self.plain)
        self.gradients = jax.jit(jax.grad(self.objective, argnums=(0, 1, 2)))

    def plain(self, query, keys, values, mask=None, **options):
        """`attend` with this score and weighting."""
        chosen = {"score": self.score, "weighting": self.weighting} | options
        return attention.attend(query, keys, values, mask=mask, **chosen)

    def objective(self, query, keys, values, mask):
        """A scalar in which every component of the context counts differently."""
        context = self.plain(query, keys, values, mask).context
        return context @ jnp.cos(jnp.arange(E, dtype=context.dtype))

    def inputs(self, dtype="float32", targets=None):
        """Query, keys and values: one query, or one a target."""
        query = draw(5, D) if targets is None else draw(6, targets, D)
        arrays = query, draw(7, S, self.width), draw(8, S, E)
        return tuple(jnp.asarray(x, dtype) for x in arrays)


# Pairs are covered, not multiplied: `attend` composes the two functions and knows
# neither, so each score is tested with the softmax, and each weighting with one score.
PAIRS = [(score, "masked_softmax") for score in SCORES]
PAIRS += [("additive", w) for w in WEIGHTINGS if w != "masked_softmax"]
CASES = {f"{score}-{weighting}": Case(score, weighting) for score, weighting in PAIRS}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
