"""Masks: boolean, True = attend.

Causality, windows and segments compare positions, not array indices, so the same
function serves training, prefill and cached decoding. Combine masks with `&`.

`AttentionMask` describes such a mask by its positions and segments. Its dense form
[B, 1, T, S] is built only for attention functions that need one.
"""

import dataclasses
from functools import partial

import jax
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
      query_positions: position of each query, shape [..., T].
      key_positions: position of each key, shape [..., S].

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
      query_positions: position of each query, shape [..., T].
      key_positions: position of each key, shape [..., S].
      before: number of positions before the query that are visible, besides its own.
      after: number of positions after the query that are visible.

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
                "(0 leaves the query's own position only)"
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


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "query_positions",
        "key_positions",
        "query_segments",
        "key_segments",
        "dense",
    ],
    meta_fields=["causal", "sliding_window", "in_order"],
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionMask:
    """Which keys each query may attend to, described by positions and segments.

    A key at position -1 is padding: no query attends to it. All conditions that are
    given must hold.

    Example:
      >>> positions = jnp.arange(3)[None]
      >>> mask = AttentionMask(
      ...     query_positions=positions, key_positions=positions, causal=True
      ... )
      >>> mask.to_dense().astype(int).tolist()
      [[[[1, 0, 0], [1, 1, 0], [1, 1, 1]]]]
    """

    query_positions: Int[Array, "B T"]
    """Position of each query."""
    key_positions: Int[Array, "B S"]
    """Position of each key; -1 marks padding and free cache slots."""
    causal: bool = False
    """Whether keys after the query are hidden."""
    sliding_window: int | None = None
    """Number of positions before the query that are visible, and after it too unless
    `causal`; None hides none."""
    query_segments: Int[Array, "B T"] | None = None
    """Which of several packed sequences each query belongs to."""
    key_segments: Int[Array, "B S"] | None = None
    """Which of several packed sequences each key belongs to."""
    dense: Bool[Array, "B T S"] | None = None
    """Any further condition, True = attend."""
    in_order: bool = False
    """Whether query i and key i are the same token and positions rise along the array
    (within a segment). `is_causal=True` of other libraries, which compares array
    indices, is then the same mask."""

    def to_dense(self) -> Bool[Array, "B 1 #T S"]:
        """Builds the boolean mask, which broadcasts to [B, H, T, S].

        The axis of queries has size 1 where all queries may attend to the same keys.
        """
        # [B, S] -> [B, 1, S]
        mask = (self.key_positions >= 0)[:, None]
        if self.causal:
            mask = mask & causal(self.query_positions, self.key_positions)
        if self.sliding_window is not None:
            mask = mask & sliding_window(
                self.query_positions,
                self.key_positions,
                before=self.sliding_window,
                after=0 if self.causal else self.sliding_window,
            )
        if self.query_segments is not None and self.key_segments is not None:
            mask = mask & segments(self.query_segments, self.key_segments)
        if self.dense is not None:
            mask = mask & self.dense
        # [B, T or 1, S] -> [B, 1, T or 1, S]
        return mask[:, None]
