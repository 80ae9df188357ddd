"""Aligners that compare a query with keys by content alone: additive, dot, bilinear."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from attnjax.cells.aligners.base import (
    Aligner,
    NoParams,
    Sizes,
    Tree,
    Weighed,
    no_params,
)
from attnjax.cells.initializers import Initializers
from attnjax.core import precision, scores, weights
from attnjax.core.attend import Memory


class AdditiveParams(NamedTuple):
    """Parameters of the additive score."""

    w_query: Float[Array, "D A"]  # W_a
    w_keys: Float[Array, "E A"]  # U_a
    v: Float[Array, "A"]  # v_a


class BilinearParams(NamedTuple):
    """Parameters of Luong's "general" score."""

    matrix: Float[Array, "D E"]


def normalise(matched: Array, query: Array, memory: Memory) -> Array:
    """Softmax of scores [S], in the dtype of the query."""
    return weights.masked_softmax(matched, memory.mask).astype(query.dtype)


def additive_init(
    rng: Array, sizes: Sizes, initializers: Initializers
) -> AdditiveParams:
    """Draws W_a, U_a and v_a."""
    r_query, r_keys, r_v = jax.random.split(rng, 3)
    return AdditiveParams(
        w_query=initializers.aligner(r_query, (sizes.D, sizes.A)),
        w_keys=initializers.aligner(r_keys, (sizes.E, sizes.A)),
        v=initializers.vector(r_v, (sizes.A,)),
    )


def additive_keys(params: AdditiveParams, values: Array) -> Array:
    """Projects source states [..., S, E] to keys U_a h [..., S, A]."""
    return precision.matmul(values, params.w_keys)


def additive_weigh(
    params: AdditiveParams, carry: Tree, query: Array, position: Array, memory: Memory
) -> Weighed:
    """Softmax of the additive score (arXiv:1409.0473, appendix A.1.2); no carry."""
    projected = precision.matmul(query, params.w_query)
    matched = scores.additive(projected, memory.keys, params.v)
    return carry, normalise(matched, query, memory)


def _bilinear_init(
    rng: Array, sizes: Sizes, initializers: Initializers
) -> BilinearParams:
    return BilinearParams(initializers.aligner(rng, (sizes.D, sizes.E)))


def _bilinear_weigh(
    params: BilinearParams, carry: Tree, query: Array, position: Array, memory: Memory
) -> Weighed:
    """Softmax of the "general" score (arXiv:1508.04025, eq. 8); no carry."""
    matched = scores.bilinear(query, memory.keys, params.matrix)
    return carry, normalise(matched, query, memory)


def _dot_keys(params: NoParams, values: Array) -> Array:
    """Adds both directions up: keys of the decoder's width without parameters."""
    forward, backward = jnp.split(values, 2, axis=-1)  # [S, 2*D] -> 2 x [S, D]
    return forward + backward


def _dot_weigh(
    params: NoParams, carry: Tree, query: Array, position: Array, memory: Memory
) -> Weighed:
    """Softmax of the "dot" score (arXiv:1508.04025, eq. 8); no carry."""
    return carry, normalise(scores.dot(query, memory.keys), query, memory)


ADDITIVE = Aligner(additive_init, additive_keys, additive_weigh)
BILINEAR = Aligner(_bilinear_init, lambda params, values: values, _bilinear_weigh)
DOT = Aligner(no_params, _dot_keys, _dot_weigh)
