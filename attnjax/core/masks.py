"""Masks: boolean, True = attend.

Causality, windows and segments are about positions, never about the corners of
an array, so one function serves training, prefill and cached decoding.
Combine masks with `&`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from attnjax.core._checks import shaped


@shaped
def padding(lengths: Int[Array, "*B"], size: int) -> Bool[Array, "*B {size}"]:
    """Attends to the first `lengths` of `size` positions.

    Args:
      lengths: number of real positions, shape [...].
      size: number of positions, padding included (S).

    Returns:
      Mask, shape [..., size].

    Raises:
      TypeError: if `lengths` are not integers.

    Example:
      >>> padding(jnp.array(2), 3)
      Array([ True,  True, False], dtype=bool)
    """
    return jnp.arange(size) < lengths[..., None]


@shaped
def causal(
    query_positions: Int[Array, "*B T"], key_positions: Int[Array, "*B S"]
) -> Bool[Array, "*B T S"]:
    """Attends to keys that do not come after the query.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.3.

    Args:
      query_positions: where each query stands, shape [..., T].
      key_positions: where each key stands, shape [..., S].

    Returns:
      Mask, shape [..., T, S].

    Raises:
      ValueError: if leading axes differ.
      TypeError: if positions are not integers.

    Example:
      >>> causal(jnp.array([2]), jnp.arange(4))  # the third token, from a cache
      Array([[ True,  True,  True, False]], dtype=bool)
    """
    return key_positions[..., None, :] <= query_positions[..., :, None]


@shaped
def sliding_window(
    query_positions: Int[Array, "*B T"],
    key_positions: Int[Array, "*B S"],
    *,
    before: int,
    after: int = 0,
) -> Bool[Array, "*B T S"]:
    """Attends to keys near the query.

    Source: Beltagy, Peters & Cohan 2020 (arXiv:2004.05150), section 3.1.

    Args:
      query_positions: where each query stands, shape [..., T].
      key_positions: where each key stands, shape [..., S].
      before: how many positions before the query it sees, itself not counted.
      after: how many positions after the query it sees.

    Returns:
      Mask, shape [..., T, S].

    Raises:
      ValueError: if leading axes differ, or `before` or `after` is negative.
      TypeError: if positions are not integers.

    Example:
      >>> sliding_window(jnp.array([2]), jnp.arange(4), before=1)
      Array([[False,  True,  True, False]], dtype=bool)
    """
    for name, reach in (("before", before), ("after", after)):
        if reach < 0:
            raise ValueError(
                f"{name}: expected a number of positions >= 0, got {reach} "
                "(0 sees the query's own position only)"
            )
    distance = key_positions[..., None, :] - query_positions[..., :, None]
    return (distance >= -before) & (distance <= after)


@shaped
def segments(
    query_segments: Int[Array, "*B T"], key_segments: Int[Array, "*B S"]
) -> Bool[Array, "*B T S"]:
    """Attends within one segment only, so that packed sequences do not leak.

    Args:
      query_segments: which sequence each query belongs to, shape [..., T].
      key_segments: which sequence each key belongs to, shape [..., S].

    Returns:
      Mask, shape [..., T, S].

    Raises:
      ValueError: if leading axes differ.
      TypeError: if segments are not integers.

    Example:
      >>> segments(jnp.array([1]), jnp.array([0, 1, 1]))
      Array([[False,  True,  True]], dtype=bool)
    """
    return query_segments[..., :, None] == key_segments[..., None, :]
