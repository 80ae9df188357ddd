"""LayerNorm and RMSNorm, over the last axis."""

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
    r"""Normalises vectors to mean 0 and variance 1, then applies scale and bias.

    .. math:: g \circ \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + b

    Source: Ba, Kiros & Hinton 2016 (arXiv:1607.06450), eq. 4.

    Args:
      x: shape [..., M].
      scale: g, shape [M].
      bias: b, shape [M]; None adds nothing.
      epsilon: added to the variance, against division by 0.

    Returns:
      Shape [..., M], in the dtype of `x`.

    Raises:
      ValueError: if shapes disagree.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> layer_norm(jnp.array([1.0, 3.0]), jnp.ones(2)).round(3)
      Array([-1.,  1.], dtype=float32)
    """
    upcast = precision.upcast(x)
    centred = upcast - jnp.mean(upcast, axis=-1, keepdims=True)
    y = _normalise(centred, epsilon) * scale.astype(upcast.dtype)
    if bias is not None:
        y = y + bias.astype(upcast.dtype)
    return y.astype(x.dtype)


@shaped
def rms_norm(
    x: Float[Array, "*B M"], scale: Float[Array, "M"], *, epsilon: float = 1e-6
) -> Float[Array, "*B M"]:
    r"""Normalises vectors to a mean square of 1, then applies the scale.

    .. math:: g \circ \frac{x}{\sqrt{\frac{1}{M} \sum_i x_i^2 + \epsilon}}

    Source: Zhang & Sennrich 2019 (arXiv:1910.07467), eq. 4.

    Args:
      x: shape [..., M].
      scale: g, shape [M].
      epsilon: added to the mean square, against division by 0.

    Returns:
      Shape [..., M], in the dtype of `x`.

    Raises:
      ValueError: if shapes disagree.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> rms_norm(jnp.array([3.0, 3.0]), jnp.ones(2)).round(3)
      Array([1., 1.], dtype=float32)
    """
    upcast = precision.upcast(x)
    y = _normalise(upcast, epsilon) * scale.astype(upcast.dtype)
    return y.astype(x.dtype)


def _normalise(x: Array, epsilon: float) -> Array:
    """Divides by the root mean square."""
    mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
    return x * lax.rsqrt(mean_square + epsilon)
