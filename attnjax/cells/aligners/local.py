"""Aligners that attend near a position: Luong's window, and a cursor."""

from functools import partial
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
from attnjax.cells.aligners.content import (
    AdditiveParams,
    additive_init,
    additive_keys,
    additive_weigh,
)
from attnjax.cells.initializers import Initializers
from attnjax.core import precision, windows
from attnjax.core.attend import Memory


class LocalParams(NamedTuple):
    """Parameters of an additive score, and of the predicted centre of a window."""

    score: AdditiveParams
    w_position: Float[Array, "D A"]  # W_p
    v_position: Float[Array, "A"]  # v_p


def _local_init(rng: Array, sizes: Sizes, initializers: Initializers) -> LocalParams:
    r_score, r_w, r_v = jax.random.split(rng, 3)
    return LocalParams(
        score=additive_init(r_score, sizes, initializers),
        w_position=initializers.aligner(r_w, (sizes.D, sizes.A)),
        v_position=initializers.vector(r_v, (sizes.A,)),
    )


def _local_weigh(
    params: LocalParams,
    carry: Tree,
    query: Array,
    position: Array,
    memory: Memory,
    *,
    half_width: float,
) -> Weighed:
    """Luong, Pham & Manning 2015 (arXiv:1508.04025), eqs. 9 and 10."""
    hidden = jnp.tanh(precision.matmul(query, params.w_position))
    fraction = jax.nn.sigmoid(precision.matmul(hidden, params.v_position))
    length = jnp.sum(memory.mask, dtype=fraction.dtype)
    factor = windows.local_p(fraction * length, memory.mask, half_width=half_width)
    carry, content = additive_weigh(params.score, carry, query, position, memory)
    return carry, factor * content


def _diagonal_weigh(
    params: NoParams,
    carry: Tree,
    query: Array,
    position: Array,
    memory: Memory,
    *,
    rate: float,
) -> Weighed:
    # float32 counts exactly to 2**24; bfloat16 would stop at 256.
    cursor = position.astype(precision.accumulation_dtype(query.dtype))
    return carry, windows.diagonal(cursor, memory.mask, rate=rate).astype(query.dtype)


def local(half_width: float = 10.0) -> Aligner:
    """Makes the aligner of additive attention in a predicted window ("local-p").

    Source: Luong, Pham & Manning 2015 (arXiv:1508.04025), section 3.2.

    Args:
      half_width: source positions on either side of the predicted centre.
    """
    return Aligner(
        init=_local_init,
        project_keys=lambda params, values: additive_keys(params.score, values),
        weigh=partial(_local_weigh, half_width=half_width),
    )


def diagonal(rate: float = 1.0) -> Aligner:
    """Makes the aligner whose cursor advances with the target: i -> `rate` * i.

    Args:
      rate: source positions for each target position.
    """
    return Aligner(
        init=no_params,
        # No key is compared with anything; one column keeps the memory small.
        project_keys=lambda params, values: values[
            ..., :1
        ],  # [..., S, E] -> [..., S, 1]
        weigh=partial(_diagonal_weigh, rate=rate),
    )
