"""Windows: weights that depend on the positions of the keys, not on their content.

`diagonal` and `soft_window` return weights; `local_p` returns a factor to multiply the
weights of a score by. Positions are counted in keys, from 0 at the first real one if
nothing else is said; they may be fractions.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def diagonal(
    position: Float[Array, ""], mask: Bool[Array, "S"], *, rate: float = 1.0
) -> Float[Array, "S"]:
    r"""Weighs keys by a cursor that advances with the target.

    .. math:: a_j = \max(0, 1 - |\min(r\,i, L - 1) - j|)

    for target position i, L real keys and r keys for each target step. The position
    is fixed in advance, without a learned parameter. Between two keys the weights are
    interpolated linearly; past the end all weight stays on the last key.

    Source: the monotonic alignment of "local-m" in Luong, Pham & Manning 2015
    (arXiv:1508.04025), section 3.2, without its window and score.

    Args:
      position: i, the target position in steps from 0, shape [].
      mask: True = a real key, shape [S].
      rate: r, keys for each target step: the ratio of source to target lengths.

    Returns:
      Weights, shape [S], in the dtype of `position`; they sum to 1, or to 0
      where there is no key.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if `mask` is not boolean.

    Example:
      >>> diagonal(jnp.array(1.0), jnp.ones(3, bool), rate=0.5)
      Array([0.5, 0.5, 0. ], dtype=float32)
    """
    # In low precision neighbouring positions of a long source would coincide.
    target = precision.upcast(position)
    last = jnp.sum(mask, dtype=target.dtype) - 1
    cursor = jnp.minimum(rate * target, last)
    distance = jnp.abs(_index(mask, target.dtype) - cursor)
    return jnp.where(mask, jnp.maximum(1 - distance, 0), 0).astype(position.dtype)


@shaped
def local_p(
    position: Float[Array, ""], mask: Bool[Array, "S"], *, half_width: float
) -> Float[Array, "S"]:
    r"""Computes a Gaussian factor around a predicted position, 0 outside a window.

    .. math:: g_j = \exp\left(-\frac{(j - p)^2}{2\sigma^2}\right) [|j - p| \le D],
              \qquad \sigma = D / 2

    Multiply the weights of a score by it ("local-p"); the paper does not normalise the
    product again.

    Source: Luong, Pham & Manning 2015 (arXiv:1508.04025), eq. 10.

    Args:
      position: p, the centre in keys from 0, shape [].
      mask: True = a real key, shape [S].
      half_width: D, in keys; the paper uses 10.

    Returns:
      Factors in [0, 1], shape [S], in the dtype of `position`.

    Raises:
      ValueError: if a shape disagrees with the letters above, or `half_width`
        is not positive.
      TypeError: if `mask` is not boolean.

    Example:
      >>> mask = jnp.ones(3, bool)
      >>> local_p(jnp.array(0.0), mask, half_width=1.0)  # doctest: +ELLIPSIS
      Array([1. ..., 0.135..., 0. ...], dtype=float32)
    """
    if half_width <= 0:
        raise ValueError(
            f"half_width: expected a positive number of keys, got {half_width} "
            "(the paper uses 10)"
        )
    centre = precision.upcast(position)
    distance = _index(mask, centre.dtype) - centre
    factor = jnp.exp(-0.5 * (distance / (half_width / 2)) ** 2)
    inside = mask & (jnp.abs(distance) <= half_width)
    return jnp.where(inside, factor, 0).astype(position.dtype)


@shaped
def soft_window(
    importance: Float[Array, "K"],
    sharpness: Float[Array, "K"],
    centres: Float[Array, "K"],
    mask: Bool[Array, "S"],
) -> Float[Array, "S"]:
    r"""Weighs keys by a sum of Gaussians around given positions.

    .. math:: \phi_u = \sum_k \alpha_k \exp(-\beta_k (\kappa_k - u)^2)

    with u = 1 at the first real key, so that centres of 0 stand before the source. The
    weights do not sum to 1.

    Source: Graves 2013 (arXiv:1308.0850), eq. 46.

    Args:
      importance: alpha, at least 0, shape [K].
      sharpness: beta, at least 0, in 1 / keys squared, shape [K].
      centres: kappa, in keys from 1, shape [K].
      mask: True = a real key, shape [S].

    Returns:
      Weights of at least 0, shape [S], in at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if `mask` is not boolean.

    Example:
      >>> one = jnp.ones(1)
      >>> soft_window(one, 50 * one, 2 * one, jnp.ones(3, bool)).round(3)
      Array([0., 1., 0.], dtype=float32)
    """
    alpha, beta, kappa = map(precision.upcast, (importance, sharpness, centres))
    u = _index(mask, kappa.dtype) + 1
    # [K] -> [K, 1] against [S] -> [1, S]
    distance = kappa[:, None] - u[None, :]
    gaussians = alpha[:, None] * jnp.exp(-beta[:, None] * distance**2)
    return jnp.where(mask, jnp.sum(gaussians, axis=0), 0)


def _index(mask: Array, dtype: Any) -> Array:
    """The position of each key, where the first real one is at 0: [S] -> [S]."""
    first = jnp.argmax(mask).astype(dtype)
    return jnp.arange(mask.shape[0], dtype=dtype) - first
