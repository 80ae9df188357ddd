"""Scores for the heads of a Transformer: any score of `core`, learned per head.

The Transformer's score is the scaled dot product. Its paper found that a more
sophisticated compatibility function may help (section 6.2, on table 3, row B), so the
score is a row of a table here, as the aligner of an RNNSearch decoder is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from attnjax.core import scores

Tree = Any


class HeadScore(NamedTuple):
    """A score, and how its parameters are initialised.

    `init(rng, H, D)` makes the parameters, leaves [H, ...], or is None where there are
    none. `score` maps (parameters of one head, query [D], keys [S, D]) to scores [S],
    without the first argument where there are no parameters.
    """

    init: Callable[[Array, int, int], Tree] | None
    score: Callable[..., Array]


def _additive_init(rng: Array, H: int, D: int) -> Tree:
    return jax.random.normal(rng, (H, D)) * D**-0.5


def _additive(v: Array, query: Array, keys: Array) -> Array:
    return scores.additive(query, keys, v)


def _bilinear_init(rng: Array, H: int, D: int) -> Tree:
    """Starts as the scaled dot product."""
    return jnp.broadcast_to(jnp.eye(D) * D**-0.5, (H, D, D))


def _bilinear(matrix: Array, query: Array, keys: Array) -> Array:
    return scores.bilinear(query, keys, matrix)


def _cosine_init(rng: Array, H: int, D: int) -> Tree:
    """An inverse temperature: the softmax of plain cosines is almost uniform."""
    return jnp.full(H, 10.0)


def _cosine(inverse_temperature: Array, query: Array, keys: Array) -> Array:
    cosines = scores.cosine(query, keys)
    return inverse_temperature.astype(cosines.dtype) * cosines


HEAD_SCORES = {
    "scaled_dot": HeadScore(None, scores.scaled_dot),
    "dot": HeadScore(None, scores.dot),
    "additive": HeadScore(_additive_init, _additive),
    "bilinear": HeadScore(_bilinear_init, _bilinear),
    "cosine": HeadScore(_cosine_init, _cosine),
}
