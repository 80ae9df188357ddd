"""Windows: where a cursor stands decides what is read, not what is written there.

`diagonal` gives weights by itself; `local_p` gives a factor for weights that a
score has made. Positions are counted in keys, from 0, and may be fractions.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def diagonal(
    position: Float[Array, ""], mask: Bool[Array, "S"], *, rate: float = 1.0
) -> Float[Array, "S"]:
    r"""Weighs keys by a cursor that moves in step with the target.

    .. math:: a_j = \max(0, 1 - |\min(r\,i, L - 1) - j|)

    for target position i, L real keys and r keys a target step: two cursors,
    one over the source, one over the target, hard-wired together. Between two
    keys the weights interpolate; past the end the cursor rests on the last key.

    Source: the design that attention replaced; "local-m" of Luong, Pham &
    Manning 2015 (arXiv:1508.04025), section 3.2, is its windowed relative.

    Args:
      position: i, the target position in steps from 0, shape [].
      mask: True = a real key, shape [S]; the real keys come first.
      rate: r, keys a step; the ratio of source to target lengths.

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
    wide = precision.upcast(position)
    last = jnp.sum(mask, dtype=wide.dtype) - 1
    cursor = jnp.minimum(rate * wide, last)
    distance = jnp.abs(jnp.arange(mask.shape[0], dtype=wide.dtype) - cursor)
    return jnp.where(mask, jnp.maximum(1 - distance, 0), 0).astype(position.dtype)


@shaped
def local_p(
    position: Float[Array, ""], mask: Bool[Array, "S"], *, half_width: float
) -> Float[Array, "S"]:
    r"""Favours keys around a predicted position, and cuts off the rest.

    .. math:: g_j = \exp\left(-\frac{(j - p)^2}{2\sigma^2}\right) [|j - p| \le D],
              \qquad \sigma = D / 2

    Multiply the weights of a score by it ("local-p"): they are not renormalised.

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
    wide = precision.upcast(position)
    distance = jnp.arange(mask.shape[0], dtype=wide.dtype) - wide
    factor = jnp.exp(-0.5 * (distance / (half_width / 2)) ** 2)
    inside = mask & (jnp.abs(distance) <= half_width)
    return jnp.where(inside, factor, 0).astype(position.dtype)
