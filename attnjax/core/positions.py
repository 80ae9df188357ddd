"""Positions: how a vector is told where its token stands.

`sinusoidal` and `learned` are added to vectors, `rotary` turns them; `biases` tells
scores instead. Every function takes the positions themselves, integers from 0, and
never the corners of an array, so one function serves training, prefill and cached
decoding.
"""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attnjax.core import frequencies as turning
from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def sinusoidal(
    positions: Int[Array, "*B"],
    width: int,
    *,
    base: float = 10_000.0,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*B {width}"]:
    r"""Writes positions as points on circles of many speeds.

    .. math:: p_{2i} = \sin(t\, \mathrm{base}^{-2i / M}), \qquad
              p_{2i + 1} = \cos(t\, \mathrm{base}^{-2i / M})

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5.

    Args:
      positions: t, shape [...].
      width: M, of the vectors that it is added to.
      base: the slowest circle comes round in about 2 pi base positions.
      dtype: of the result; angles are computed in at least float32.

    Returns:
      Numbers in [-1, 1], sines at even and cosines at odd components, shape
      [..., width].

    Raises:
      ValueError: if the width is odd or not positive, or the base is not positive.
      TypeError: if positions are not integers.

    Example:
      >>> sinusoidal(jnp.array(0), 4)
      Array([0., 1., 0., 1.], dtype=float32)
    """
    speeds = turning.rotary_frequencies(width, base=base)
    angles = turning.angles(positions, speeds, dtype=dtype)
    pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return pairs.reshape(*positions.shape, width).astype(dtype)


@shaped
def learned(
    table: Float[Array, "L M"], positions: Int[Array, "*B"]
) -> Float[Array, "*B M"]:
    """Looks positions up in a table.

    A position that the table does not have, negative ones among them, is 0 and
    teaches the table nothing: positions are not known when a program is traced, so
    this cannot be an error, and the row of another position would be a silent one.
    Compare lengths with L where they are known.

    Source: Gehring et al. 2017 (arXiv:1705.03122), section 3.1.

    Args:
      table: a row for each position, shape [L, M].
      positions: shape [...].

    Returns:
      Shape [..., M], in the dtype of `table`.

    Raises:
      ValueError: if `table` is not of rank 2.
      TypeError: if positions are not integers.

    Example:
      >>> learned(jnp.array([[5.0], [7.0]]), jnp.array([1, 2, -1])).tolist()
      [[7.0], [0.0], [0.0]]
    """
    return table.at[positions].get(
        mode="fill", fill_value=0, wrap_negative_indices=False
    )


@shaped
def rotary(
    x: Float[Array, "... D"],
    positions: Int[Array, "..."],
    *,
    base: float = 10_000.0,
    frequencies: turning.Frequencies | None = None,
    interleaved: bool = False,
) -> Float[Array, "... D"]:
    r"""Turns pairs of components by angles that grow with the position.

    .. math:: (x_a, x_b) \mapsto (x_a \cos t\theta - x_b \sin t\theta,\;
              x_b \cos t\theta + x_a \sin t\theta)

    Turn queries and keys alike: their inner product then depends on how far apart
    they stand, and on nothing else about their positions.

    Source: Su et al. 2021 (arXiv:2104.09864), eq. 34, there with pairs interleaved.

    Args:
      x: queries or keys, shape [..., D]; of many heads, [B, T, H, D].
      positions: t, one for each index of the first axes of x, as [B, T]; where an
        axis is left out (heads) or is 1, its vectors share a position.
      base: of `rotary_frequencies`, where `frequencies` are not given.
      frequencies: theta, radians a position, shape [P]; the first 2 P components turn,
        the others stay. None: all turn.
      interleaved: pairs are components 2i and 2i + 1, as in the paper and GPT-J;
        else i and P + i, as in GPT-NeoX and Llama.

    Returns:
      The shape and dtype of `x`; lengths are kept.

    Raises:
      ValueError: if shapes disagree, there are more than D / 2 frequencies, or all of
        an odd number of components should turn.
      TypeError: if positions are not integers.

    Example:
      >>> x, turn = jnp.array([3.0, 0.0]), jnp.array([jnp.pi / 2])
      >>> rotary(x, jnp.array(1), frequencies=turn).round()
      Array([-0.,  3.], dtype=float32)
    """
    *leading, D = x.shape
    if frequencies is None:
        frequencies = turning.rotary_frequencies(D, base=base)
    P = len(frequencies)
    if 2 * P > D:
        raise ValueError(
            f"frequencies: expected at most D / 2 = {D // 2} of them, got {P} (each "
            "turns two components)"
        )
    if positions.ndim > len(leading) or any(
        t not in (1, size)
        for t, size in zip(positions.shape, leading, strict=False)  # the first axes
    ):
        raise ValueError(
            f"positions: expected the first axes of x, of {leading}, got "
            f"{list(positions.shape)} (leave out the axis of heads; 1 where one is "
            "shared)"
        )
    angles = turning.angles(positions, frequencies, dtype=x.dtype)
    shared = (1,) * (len(leading) - positions.ndim)
    angles = angles.reshape(*positions.shape, *shared, P)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    axis, pairs = (-1, (P, 2)) if interleaved else (-2, (2, P))
    wide = precision.upcast(x[..., : 2 * P]).reshape(*leading, *pairs)
    a, b = jnp.unstack(wide, axis=axis)
    turned = jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=axis)
    turned = turned.reshape(*leading, 2 * P).astype(x.dtype)
    return jnp.concatenate([turned, x[..., 2 * P :]], axis=-1)
