"""Scores for the heads of a Transformer: any score of `core`, learned per head.

The Transformer is usually one score, the scaled dot product. Its paper found that
a better one might help (table 3, row B: smaller keys hurt), so here the
score is a row of a table, as the alignment of an RNNSearch decoder is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from attnjax.core import scores

Tree = Any


class HeadScore(NamedTuple):
    """A score with weights of its own.

    `init(rng, H, D)` makes them, leaves [H, ...], or is None where there are none;
    `score` maps (weights of one head, query [D], keys [S, D]) to scores [S], without
    the weights where there are none.
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
    """Sharpness: a cosine is at most 1, and weights of it alone are nearly even."""
    return jnp.full(H, 10.0)


def _cosine(sharpness: Array, query: Array, keys: Array) -> Array:
    return sharpness * scores.cosine(query, keys)


HEAD_SCORES = {
    "scaled_dot": HeadScore(None, scores.scaled_dot),
    "dot": HeadScore(None, scores.dot),
    "additive": HeadScore(_additive_init, _additive),
    "bilinear": HeadScore(_bilinear_init, _bilinear),
    "cosine": HeadScore(_cosine_init, _cosine),
}
