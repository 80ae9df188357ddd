"""The KV cache: keys and values of the tokens that a stack has processed.

`init_cache` allocates it. A call with T new tokens checks the capacity, allocates
their slots, and then writes and reads the keys and values of one layer after another.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.core._checks import check_below


class KVCache(NamedTuple):
    """Keys and values of L layers for up to S tokens a row.

    The slot of a token is its position modulo S. With a sliding window of fewer than S
    positions that is a ring buffer, which serves texts of any length; without one, a
    token beyond the capacity is an error, or NaN while a program is traced.

    The head axis comes before the slots because that is the layout of the attention
    dots; in the other order every decoding step would transpose the whole cache.
    """

    keys: Float[Array, "B L N S D"]
    values: Float[Array, "B L N S D"]
    positions: Int[Array, "B S"]  # of the token in each slot; -1 marks a free slot
    lengths: Int[Array, "B"]  # number of tokens, which is the next position


class LayerCache(NamedTuple):
    """The arrays of a cache, seen from one layer."""

    keys: Float[Array, "B L N S D"]
    values: Float[Array, "B L N S D"]
    layer: Int[Array, ""]
    slots: Int[Array, "B T"]  # of the new tokens


def init_cache(
    *,
    batch_size: int,
    num_layers: int,
    capacity: int,
    num_kv_heads: int,
    head_dim: int,
    dtype: Any,
) -> KVCache:
    """Allocates an empty cache.

    Args:
      batch_size: B.
      num_layers: L.
      capacity: S, number of slots, one a token.
      num_kv_heads: N.
      head_dim: D.
      dtype: dtype of keys and values.
    """
    shape = (batch_size, num_layers, num_kv_heads, capacity, head_dim)
    return KVCache(
        keys=jnp.zeros(shape, dtype),
        values=jnp.zeros(shape, dtype),
        positions=jnp.full((batch_size, capacity), -1, jnp.int32),
        lengths=jnp.zeros(batch_size, jnp.int32),
    )


def check_capacity(cache: KVCache, T: int, sliding_window: int | None) -> None:
    """Checks that T new tokens fit beside the window of the first of them.

    Raises:
      ValueError: if the last token would overwrite a slot that the first attends to.
    """
    S, before = cache.positions.shape[1], sliding_window or 0
    if before + T > S:
        raise ValueError(
            f"cache: expected at least {before + T} slots for {T} tokens at once"
            + (f" and a window of {before} before each" if before else "")
            + f", got {S} (process fewer tokens at a time, or raise its capacity)"
        )


def check_full(cache: KVCache, positions: Int[Array, "B T"]) -> Bool[Array, "B T"]:
    """Finds the tokens for which a cache without a sliding window has no slot.

    Returns:
      Whether a token has no slot, of those whose position is not known yet.

    Raises:
      ValueError: if a token whose position is known has no slot.
    """
    S = cache.positions.shape[1]
    check_below("positions", positions, S, "the KV cache is full: start a larger one")
    return positions >= S


def allocate(
    cache: KVCache, positions: Int[Array, "B T"], *, ring: bool
) -> tuple[KVCache, Int[Array, "B T"]]:
    """Allocates the slots of new tokens.

    A token at position -1 is padding: its slot is S, which is out of range, so that
    the writes below drop it.

    Args:
      cache: the cache.
      positions: of the new tokens.
      ring: whether a token may take the slot of one that no query attends to any more,
        because the attention has a sliding window. Otherwise tokens beyond the
        capacity are dropped too.

    Returns:
      The cache with the new positions and lengths, and the slots [B, T].
    """
    B, S = cache.positions.shape
    fits = positions >= 0 if ring else (positions >= 0) & (positions < S)
    slots = jnp.where(fits, positions % S, S)
    rows = jnp.arange(B, dtype=jnp.int32)[:, None]  # [B] -> [B, 1]
    in_slots = cache.positions.at[rows, slots].set(positions, mode="drop")
    last = positions.max(axis=1, initial=-1)
    lengths = jnp.maximum(cache.lengths, last + 1)
    return cache._replace(positions=in_slots, lengths=lengths), slots


def write(
    cache: LayerCache, keys: Float[Array, "B T N D"], values: Float[Array, "B T N D"]
) -> LayerCache:
    """Writes the new tokens' keys and values of one layer into their slots."""
    rows = jnp.arange(cache.slots.shape[0], dtype=jnp.int32)[:, None]

    def put(old: Array, new: Array) -> Array:
        # The advanced indices [B, T] come first, then the slice over heads: the
        # update is [B, T, N, D] as it is.
        index = (rows, cache.layer, slice(None), cache.slots)
        return old.at[index].set(new.astype(old.dtype), mode="drop")

    return cache._replace(keys=put(cache.keys, keys), values=put(cache.values, values))


def read(cache: LayerCache) -> tuple[Array, Array]:
    """Reads all keys and values of one layer, twice [B, S, N, D]."""

    def of_layer(x: Array) -> Array:
        x = lax.dynamic_index_in_dim(x, cache.layer, axis=1, keepdims=False)
        return x.swapaxes(1, 2)  # [B, N, S, D] -> [B, S, N, D]

    return of_layer(cache.keys), of_layer(cache.values)
