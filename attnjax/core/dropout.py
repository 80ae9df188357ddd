"""Dropout."""

import jax
import jax.numpy as jnp
from jax import Array


def dropout(rng: Array | None, x: Array, *, rate: float) -> Array:
    """Sets random elements of `x` to 0 and scales the others to keep the mean.

    Source: Srivastava et al. 2014, "Dropout", section 10 (inverted scaling).

    Args:
      rng: one typed random key; None leaves `x` as it is, as does a rate of 0.
      x: any array of floats.
      rate: probability of a zero, in [0, 1), rounded to multiples of 2**-16.

    Returns:
      The shape and dtype of `x`.

    Raises:
      ValueError: if the rate is outside [0, 1).

    Example:
      >>> dropout(None, jnp.ones(2), rate=0.5)
      Array([1., 1.], dtype=float32)
    """
    if not 0 <= rate < 1:
        raise ValueError(
            f"rate: expected a share in [0, 1), got {rate} (0 turns dropout off)"
        )
    if rng is None or rate == 0:
        return x
    # 16 random bits resolve the rate to 2**-16, at half the cost of 32.
    bits = jax.random.bits(rng, x.shape, jnp.uint16)
    keep = bits >= jnp.uint16(min(round(rate * 2**16), 2**16 - 1))
    return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)
