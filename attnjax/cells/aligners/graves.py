"""The aligner of Graves's soft window: Gaussians that move forward over the source."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from attnjax.cells.aligners.base import Aligner, Sizes, Weighed
from attnjax.cells.initializers import Initializers
from attnjax.core import precision, windows
from attnjax.core.attend import Memory


class WindowParams(NamedTuple):
    """Parameters of the linear layer to importance, sharpness and step, K each."""

    w: Float[Array, "D 3*K"]
    b: Float[Array, "3*K"]


def _init(
    rng: Array, sizes: Sizes, initializers: Initializers, *, num_gaussians: int
) -> WindowParams:
    width = 3 * num_gaussians
    return WindowParams(initializers.kernel(rng, (sizes.D, width)), jnp.zeros(width))


def _weigh(
    params: WindowParams, carry: Array, query: Array, position: Array, memory: Memory
) -> Weighed:
    """Graves 2013 (arXiv:1308.0850), eqs. 46 to 51; carries the centres, in keys."""
    product = precision.matmul(query, params.w, upcast_result=True)
    emitted = jnp.exp(product + params.b.astype(product.dtype))
    importance, sharpness, step = jnp.split(emitted, 3)  # [3*K] -> 3 x [K]
    centres = carry + step
    given = windows.soft_window(importance, sharpness, centres, memory.mask)
    return centres, given.astype(query.dtype)


def _initial_carry(params: WindowParams, memory: Memory) -> Array:
    """Centres of 0, one position before the source: [K]."""
    dtype = precision.accumulation_dtype(memory.values.dtype)
    return jnp.zeros(params.b.shape[0] // 3, dtype)


def soft_window(num_gaussians: int = 10) -> Aligner:
    """Makes the aligner of a soft window, which carries the centres of its Gaussians.

    The centres start one position before the source and only move forward. The weights
    do not sum to 1.

    Source: Graves 2013 (arXiv:1308.0850), section 5.1.

    Args:
      num_gaussians: K, the Gaussians that the window is a sum of (the paper: 10).
    """
    return Aligner(
        init=partial(_init, num_gaussians=num_gaussians),
        # No key is compared with anything; one column keeps the memory small.
        project_keys=lambda params, values: values[
            ..., :1
        ],  # [..., S, E] -> [..., S, 1]
        weigh=_weigh,
        initial_carry=_initial_carry,
    )
