"""Normalisation of one vector: the same spread for every position."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def layer_norm(
    x: Float[Array, "*B M"],
    scale: Float[Array, "M"],
    bias: Float[Array, "M"] | None = None,
    *,
    epsilon: float = 1e-5,
) -> Float[Array, "*B M"]:
    r"""Shifts and scales a vector to mean 0 and variance 1, then as learned.

    .. math:: g \circ \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + b

    Source: Ba, Kiros & Hinton 2016 (arXiv:1607.06450), eq. 4.

    Args:
      x: shape [..., M].
      scale: g, shape [M].
      bias: b, shape [M]; None adds nothing.
      epsilon: keeps a constant vector from being divided by 0.

    Returns:
      Shape [..., M], in the dtype of `x`.

    Raises:
      ValueError: if shapes disagree.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> layer_norm(jnp.array([1.0, 3.0]), jnp.ones(2)).round(3)
      Array([-1.,  1.], dtype=float32)
    """
    wide = precision.upcast(x)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    unit = _over_root_mean_square(centred, epsilon) * scale.astype(wide.dtype)
    if bias is not None:
        unit = unit + bias.astype(wide.dtype)
    return unit.astype(x.dtype)


@shaped
def rms_norm(
    x: Float[Array, "*B M"], scale: Float[Array, "M"], *, epsilon: float = 1e-6
) -> Float[Array, "*B M"]:
    r"""Scales a vector to a mean square of 1, then as learned.

    .. math:: g \circ \frac{x}{\sqrt{\frac{1}{M} \sum_i x_i^2 + \epsilon}}

    Source: Zhang & Sennrich 2019 (arXiv:1910.07467), eq. 4.

    Args:
      x: shape [..., M].
      scale: g, shape [M].
      epsilon: keeps a vector of zeros from being divided by 0.

    Returns:
      Shape [..., M], in the dtype of `x`.

    Raises:
      ValueError: if shapes disagree.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> rms_norm(jnp.array([3.0, 3.0]), jnp.ones(2)).round(3)
      Array([1., 1.], dtype=float32)
    """
    wide = precision.upcast(x)
    unit = _over_root_mean_square(wide, epsilon) * scale.astype(wide.dtype)
    return unit.astype(x.dtype)


def _over_root_mean_square(x: Array, epsilon: float) -> Array:
    mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
    return x * lax.rsqrt(mean_square + epsilon)
