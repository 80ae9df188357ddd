"""Functions that change a gradient and leave the value alone."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def clip_gradient(x: Float[Array, "..."], *, limit: float) -> Float[Array, "..."]:
    r"""Returns `x`; clips each element of the gradient that flows back through it.

    .. math:: \frac{\partial L}{\partial x} \leftarrow
        \max(-c, \min(c, \frac{\partial L}{\partial x}))

    So the gradient is bounded at every step of a sequence, before it flows further
    back, and not once it has been summed over all steps.

    Source: Graves 2013 (arXiv:1308.0850), section 2.1.

    Args:
      x: any array.
      limit: c, the largest absolute value of an element; in the unit of the loss.

    Returns:
      `x`.

    Raises:
      ValueError: if `limit` is not positive.

    Example:
      >>> slope = jax.grad(lambda x: 5 * clip_gradient(x, limit=2.0))
      >>> float(slope(1.0))
      2.0
    """
    if not limit > 0:
        raise ValueError(f"limit: expected a positive number, got {limit}")
    return _clipped(limit, jnp.asarray(x))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _clipped(limit: float, x: Array) -> Array:
    return x


def _forward(limit: float, x: Array) -> tuple[Array, None]:
    return x, None


def _backward(limit: float, _: None, cotangent: Array) -> tuple[Array]:
    return (jnp.clip(cotangent, -limit, limit),)


_clipped.defvjp(_forward, _backward)
