"""Position biases, added to the scores: ALiBi and relative position bias (T5).

Pass them to `attend` or `attend_heads` as `bias`. Like `masks`, they compare
positions, not array indices, so the same function serves training, prefill and cached
decoding.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attnjax.core import precision
from attnjax.core._checks import shaped


def alibi_slopes(heads: int, *, dtype: DTypeLike = jnp.float32) -> Float[Array, "H"]:
    r"""Computes the slope of each head for `alibi`: its penalty per position.

    .. math:: m_h = 2^{-8h / H}, \qquad h = 1, \dots, H

    where H is a power of 2. Otherwise the heads beyond the largest power of 2 below H
    take every other slope of twice that many heads, as in the authors' code.

    Source: Press, Smith & Lewis 2022 (arXiv:2108.12409), section 3.

    Args:
      heads: H, number of query heads.
      dtype: dtype of the slopes, and of the biases computed from them.

    Returns:
      Slopes in (0, 1), shape [H].

    Raises:
      ValueError: if there is no head.

    Example:
      >>> alibi_slopes(3)
      Array([0.0625    , 0.00390625, 0.25      ], dtype=float32)
    """
    if heads < 1:
        raise ValueError(f"heads: expected at least 1, got {heads} (each has a slope)")
    power = 1 << (heads.bit_length() - 1)
    steps = [8 / power * h for h in range(1, power + 1)]
    between = [8 / power * (h + 0.5) for h in range(heads - power)]
    return jnp.asarray(0.5 ** np.array(steps + between), dtype)


@shaped
def alibi(
    query_positions: Int[Array, "*B T"],
    key_positions: Int[Array, "*B S"],
    slopes: Float[Array, "H"],
) -> Float[Array, "*B H T S"]:
    r"""Lowers scores in proportion to the distance between key and query.

    .. math:: b_{hij} = -m_h |i - j|

    The paper is causal; without a causal mask the penalty is symmetric.

    Source: Press, Smith & Lewis 2022 (arXiv:2108.12409), section 3.

    Args:
      query_positions: position of each query, shape [..., T].
      key_positions: position of each key, shape [..., S].
      slopes: m, of `alibi_slopes` or learned, shape [H].

    Returns:
      Bias, shape [..., H, T, S], in the dtype of `slopes`.

    Raises:
      ValueError: if leading axes differ.
      TypeError: if positions are not integers.

    Example:
      >>> alibi(jnp.array([2]), jnp.arange(4), jnp.array([0.5])).tolist()
      [[[-1.0, -0.5, 0.0, -0.5]]]
    """
    distance = -jnp.abs(_offsets(query_positions, key_positions))
    per_head = precision.upcast(slopes)[:, None, None]  # [H] -> [H, 1, 1]
    # [..., T, S] -> [..., 1, T, S]
    bias = per_head * distance[..., None, :, :].astype(per_head.dtype)
    return bias.astype(slopes.dtype)


@shaped
def relative_buckets(
    query_positions: Int[Array, "*B T"],
    key_positions: Int[Array, "*B S"],
    *,
    buckets: int = 32,
    max_distance: int = 128,
    bidirectional: bool = True,
) -> Int[Array, "*B T S"]:
    """Assigns distances to buckets: one each near the query, logarithmic farther away.

    With K buckets for a direction, the first K / 2 distances have one each; the
    others grow geometrically up to `max_distance`; the last takes all beyond.

    Source: Raffel et al. 2020 (arXiv:1910.10683), section 2.1, and its code.

    Args:
      query_positions: position of each query, shape [..., T].
      key_positions: position of each key, shape [..., S].
      buckets: number of buckets of both directions together.
      max_distance: distances from here on share the last bucket.
      bidirectional: whether keys after the query have the upper half of the buckets;
        otherwise they share the bucket of distance 0.

    Returns:
      Numbers in [0, buckets), shape [..., T, S].

    Raises:
      ValueError: if leading axes differ, there are too few buckets, or `max_distance`
        has a bucket of its own.
      TypeError: if positions are not integers.

    Example:
      >>> relative_buckets(jnp.array([9]), jnp.array([9, 8, 0, 12])).tolist()
      [[0, 1, 8, 19]]
    """
    directions = 2 if bidirectional else 1
    if buckets < 2 * directions or buckets % directions:
        raise ValueError(
            f"buckets: expected an even number >= 4, or >= 2 for one direction, got "
            f"{buckets} (half of a direction's are single distances)"
        )
    count = buckets // directions
    exact = count // 2
    if max_distance <= exact:
        raise ValueError(
            f"max_distance: expected more than {exact}, got {max_distance} (the "
            f"distances below {exact} have their own buckets)"
        )
    distances = np.arange(max_distance + 1)
    growth = np.log(np.maximum(distances, 1) / exact) / math.log(max_distance / exact)
    # Rounding to 9 digits keeps an exact power from falling just below its bucket.
    wider = exact + np.floor(np.round(growth * (count - exact), 9)).astype(int)
    table = np.where(distances < exact, distances, np.minimum(wider, count - 1))
    offsets = _offsets(query_positions, key_positions)
    distance = jnp.abs(offsets) if bidirectional else jnp.maximum(-offsets, 0)
    bucket = jnp.asarray(table, jnp.int32)[jnp.minimum(distance, max_distance)]
    return jnp.where(offsets > 0, bucket + count, bucket) if bidirectional else bucket


@shaped
def relative_bias(
    table: Float[Array, "K H"], buckets: Int[Array, "*B T S"]
) -> Float[Array, "*B H T S"]:
    """Looks up the learned bias of each head and bucket.

    Source: Raffel et al. 2020 (arXiv:1910.10683), section 2.1; all layers share it.

    Args:
      table: one row per bucket, shape [K, H].
      buckets: of `relative_buckets`, shape [..., T, S].

    Returns:
      Bias, shape [..., H, T, S], in the dtype of `table`.

    Raises:
      ValueError: if `table` is not of rank 2.
      TypeError: if buckets are not integers.

    Example:
      >>> relative_bias(jnp.array([[5.0], [7.0]]), jnp.array([[0, 1]])).tolist()
      [[[5.0, 7.0]]]
    """
    # [..., T, S, H] -> [..., H, T, S]
    return jnp.moveaxis(table[buckets], -1, -3)


def _offsets(query_positions: Array, key_positions: Array) -> Array:
    """Key position minus query position, shape [..., T, S]."""
    return key_positions[..., None, :] - query_positions[..., :, None]
