"""Position embeddings: sinusoidal, learned, rotary (RoPE).

`sinusoidal` and `learned` are added to token embeddings; `apply_rope` rotates queries
and keys; `biases` are added to scores instead. Every function takes positions,
integers from 0, instead of counting array indices, so the same function serves
training, prefill and cached decoding.
"""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attnjax.core import precision
from attnjax.core._checks import check_below, shaped
from attnjax.core.frequencies import Frequencies, rope_frequencies
from attnjax.core.frequencies import angles as rotation_angles


@shaped
def sinusoidal(
    positions: Int[Array, "*B"],
    width: int,
    *,
    base: float = 10_000.0,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*B {width}"]:
    r"""Encodes positions as sines and cosines of many frequencies.

    .. math:: p_{2i} = \sin(t\, \mathrm{base}^{-2i / M}), \qquad
              p_{2i + 1} = \cos(t\, \mathrm{base}^{-2i / M})

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5.

    Args:
      positions: t, shape [...].
      width: M, width of the embeddings.
      base: the longest period is about 2 pi base positions.
      dtype: dtype of the result; angles are computed in at least float32.

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
    if width < 1 or width % 2:
        raise ValueError(
            f"width: expected an even number >= 2, got {width} (positions are pairs of "
            "sine and cosine)"
        )
    if base <= 0:
        raise ValueError(
            f"base: expected a number > 0, got {base} (the paper uses 10,000)"
        )
    frequencies = rope_frequencies(width, theta=base)
    angles = rotation_angles(positions, frequencies, dtype=dtype)
    pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    # [..., M/2, 2] -> [..., M]
    return pairs.reshape(*positions.shape, width).astype(dtype)


@shaped
def learned(
    table: Float[Array, "L M"], positions: Int[Array, "*B"]
) -> Float[Array, "*B M"]:
    """Looks positions up in a table.

    A negative position is padding: it gives zeros and no gradient. A position beyond
    the table is an error where its value is known; inside `jax.jit` it is not, and the
    result is NaN: clamped to the last row it would look plausible.

    Source: Gehring et al. 2017 (arXiv:1705.03122), section 3.1.

    Args:
      table: one row per position, shape [L, M].
      positions: shape [...].

    Returns:
      Shape [..., M], in the dtype of `table`.

    Raises:
      ValueError: if `table` is not of rank 2, or a known position is beyond it.
      TypeError: if positions are not integers.

    Example:
      >>> learned(jnp.array([[5.0], [7.0]]), jnp.array([1, 0, -1])).tolist()
      [[7.0], [5.0], [0.0]]
    """
    L = table.shape[0]
    check_below("positions", positions, L, "the table has no more rows")
    rows = table.at[jnp.maximum(positions, 0)].get(mode="fill", fill_value=jnp.nan)
    # [...] -> [..., 1]
    return jnp.where((positions < 0)[..., None], 0, rows)


@shaped
def apply_rope(
    x: Float[Array, "... D"],
    positions: Int[Array, "..."],
    *,
    theta: float = 10_000.0,
    frequencies: Frequencies | None = None,
    interleaved: bool = False,
    attention_factor: float = 1.0,
) -> Float[Array, "... D"]:
    r"""Applies rotary position embedding: rotates pairs of components by position.

    .. math:: (x_a, x_b) \mapsto (x_a \cos t\omega - x_b \sin t\omega,\;
              x_b \cos t\omega + x_a \sin t\omega)

    Applied to queries and keys alike, their inner product depends on the difference
    of their positions only.

    Source: Su et al. 2021 (arXiv:2104.09864), eq. 34, with interleaved pairs and
    theta_i for omega_i.

    Args:
      x: queries or keys, shape [..., D]; of many heads, [B, T, H, D].
      positions: t, one for each index of the first axes of x, as [B, T]; where an
        axis is left out (heads) or is 1, its vectors share a position.
      theta: the RoPE base (`rope_theta`), where `frequencies` are not given.
      frequencies: omega, radians a position, shape [P]; the first 2 P components are
        rotated, the others unchanged. None rotates all.
      interleaved: pairs are components 2i and 2i + 1, as in the paper and GPT-J;
        else i and P + i, as in GPT-NeoX and Llama.
      attention_factor: what the rotated components are multiplied by; YaRN's is
        `yarn_attention_factor`.

    Returns:
      The shape and dtype of `x`; with an attention factor of 1, lengths are kept.

    Raises:
      ValueError: if shapes disagree, there are more than D / 2 frequencies, or D is
        odd and no frequencies are given.
      TypeError: if positions are not integers.

    Example:
      >>> x, quarter = jnp.array([3.0, 0.0]), jnp.array([jnp.pi / 2])
      >>> apply_rope(x, jnp.array(1), frequencies=quarter).round()
      Array([-0.,  3.], dtype=float32)
    """
    *leading, D = x.shape
    if frequencies is None:
        frequencies = rope_frequencies(D, theta=theta)
    P = len(frequencies)
    if 2 * P > D:
        raise ValueError(
            f"frequencies: expected at most D / 2 = {D // 2} of them, got {P} (each "
            "rotates two components)"
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
    angles = rotation_angles(positions, frequencies, dtype=x.dtype)
    shared = (1,) * (len(leading) - positions.ndim)
    # [B, T, P] -> [B, T, 1, P] for x of [B, T, H, D]
    angles = angles.reshape(*positions.shape, *shared, P)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if attention_factor != 1:  # in the dtype of the angles, which is float32 at least
        cos, sin = attention_factor * cos, attention_factor * sin
    axis, pairs = (-1, (P, 2)) if interleaved else (-2, (2, P))
    rotating = precision.upcast(x[..., : 2 * P])
    # [..., 2P] -> [..., 2, P], or [..., P, 2] interleaved -> twice [..., P]
    a, b = jnp.unstack(rotating.reshape(*leading, *pairs), axis=axis)
    rotated = jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=axis)
    # [..., 2, P] or [..., P, 2] -> [..., 2P]
    rotated = rotated.reshape(*leading, 2 * P).astype(x.dtype)
    return jnp.concatenate([rotated, x[..., 2 * P :]], axis=-1)
