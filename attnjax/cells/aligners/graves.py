"""The aligner of Graves's soft window: Gaussians that move forward over the source."""

import functools
import math
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from attnjax.cells.aligners.base import Aligner, Sizes, Weighed
from attnjax.cells.initializers import Initializers
from attnjax.core import precision, windows
from attnjax.core.attend import Memory
from attnjax.core.exponential import finite_exp


class WindowParams(NamedTuple):
    """Parameters of the linear layer to importance, sharpness and step, K each."""

    w: Float[Array, "D 3*K"]
    b: Float[Array, "3*K"]


# Larger steps end behind any text; squared, and times such a sharpness, finite.
_LIMIT = 20.0


def _init(
    rng: Array,
    sizes: Sizes,
    initializers: Initializers,
    *,
    num_gaussians: int,
    first_step: float,
) -> WindowParams:
    steps = jnp.full(num_gaussians, math.log(first_step))
    return WindowParams(
        w=initializers.kernel(rng, (sizes.D, 3 * num_gaussians)),
        b=jnp.concatenate([jnp.zeros(2 * num_gaussians), steps]),  # [2*K], [K]
    )


def _weigh(
    params: WindowParams, carry: Array, query: Array, position: Array, memory: Memory
) -> Weighed:
    """Graves 2013 (arXiv:1308.0850), eqs. 46 to 51; carries the centres, in keys."""
    product = precision.matmul(query, params.w, upcast_result=True)
    emitted = finite_exp(product + params.b.astype(product.dtype), limit=_LIMIT)
    importance, sharpness, step = jnp.split(emitted, 3)  # [3*K] -> 3 x [K]
    centres = carry + step
    given = windows.soft_window(importance, sharpness, centres, memory.mask)
    return centres, given.astype(query.dtype)


def _initial_carry(params: WindowParams, memory: Memory) -> Array:
    """Centres of 0, one position before the source: [K]."""
    dtype = precision.accumulation_dtype(memory.values.dtype)
    return jnp.zeros(params.b.shape[0] // 3, dtype)


@functools.cache  # an equal window is the same one: it compiles once
def soft_window(num_gaussians: int = 10, *, first_step: float = 1.0) -> Aligner:
    """Makes the aligner of a soft window, which carries the centres of its Gaussians.

    The centres start one position before the source and only move forward. The weights
    do not sum to 1.

    Source: Graves 2013 (arXiv:1308.0850), section 5.1.

    Args:
      num_gaussians: K, the Gaussians that the window is a sum of (the paper: 10).
      first_step: how far the centres move at a step of an untrained window, in keys:
        of handwriting about 1 / 25, since a character has about 25 points.

    Raises:
      ValueError: if `first_step` is not positive.
    """
    if not first_step > 0:
        raise ValueError(
            f"first_step: expected a positive number of keys, got {first_step}"
        )
    return Aligner(
        init=partial(_init, num_gaussians=num_gaussians, first_step=first_step),
        # No key is compared with anything; one column keeps the memory small.
        project_keys=lambda params, values: values[
            ..., :1
        ],  # [..., S, E] -> [..., S, 1]
        weigh=_weigh,
        initial_carry=_initial_carry,
    )
