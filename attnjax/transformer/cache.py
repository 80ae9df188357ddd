"""The KV cache: keys and values of the tokens that a stack has processed."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

CacheArrays = tuple[Array, Array]  # keys and values of all layers


class KVCache(NamedTuple):
    """The KV cache of a stack of L blocks, with S slots.

    A token's slot is its position modulo S (a ring buffer), so with a sliding window
    of fewer than S positions a cache serves texts of any length. Heads come before
    slots, as in the dots that contract them, so that a step copies no keys or values.
    """

    keys: Float[Array, "B L N S D"]
    values: Float[Array, "B L N S D"]
    positions: Int[Array, "B S"]  # of the token in each slot; -1: empty
    lengths: Int[Array, "B"]  # tokens processed: the next position


def init_cache(
    *,
    batch_size: int,
    num_layers: int,
    size: int,
    num_kv_heads: int,
    head_dim: int,
    dtype: Any,
) -> KVCache:
    """Makes an empty cache with `size` slots."""
    shape = (batch_size, num_layers, num_kv_heads, size, head_dim)
    return KVCache(
        keys=jnp.zeros(shape, dtype),
        values=jnp.zeros(shape, dtype),
        positions=jnp.full((batch_size, size), -1, jnp.int32),
        lengths=jnp.zeros(batch_size, jnp.int32),
    )


def check_capacity(cache: KVCache, T: int, sliding_window: int | None) -> None:
    """Checks that the cache has the capacity for T tokens at once.

    Raises:
      ValueError: if the last of them would overwrite a slot in the first one's window.
    """
    S, before = cache.positions.shape[1], sliding_window or 0
    if before + T > S:
        raise ValueError(
            f"cache: expected at least {before + T} slots for {T} tokens at once"
            + (f" and a window of {before} before each" if before else "")
            + f", got {S} (give fewer tokens at a time, or make it with a larger size)"
        )


def allocate_slots(
    cache: KVCache, positions: Int[Array, "B T"]
) -> tuple[KVCache, Int[Array, "B T"]]:
    """Allocates slots for new tokens; returns the updated cache and the slots.

    Padding, at position -1, gets slot S, which is out of range: its write is dropped.
    """
    B, S = cache.positions.shape
    slots = jnp.where(positions >= 0, positions % S, S)
    rows = jnp.arange(B)[:, None]
    known = cache.positions.at[rows, slots].set(positions, mode="drop")
    lengths = jnp.maximum(cache.lengths, positions.max(axis=1) + 1)
    return cache._replace(positions=known, lengths=lengths), slots


def write_and_read(
    arrays: CacheArrays,
    layer: Int[Array, ""],
    slots: Int[Array, "B T"],
    keys: Float[Array, "B T N D"],
    values: Float[Array, "B T N D"],
) -> tuple[Array, Array, CacheArrays]:
    """Writes one layer's new keys and values into their slots, and reads the layer.

    Returns:
      The layer's keys and values, each [B, S, N, D], and the updated arrays of all
      layers.
    """
    rows = jnp.arange(slots.shape[0])[:, None]

    def write(old: Array, new: Array) -> Array:
        return old.at[rows, layer, :, slots].set(new.astype(old.dtype), mode="drop")

    def read(x: Array) -> Array:
        x = lax.dynamic_index_in_dim(x, layer, axis=1, keepdims=False)
        return x.swapaxes(1, 2)  # [B, N, S, D] -> [B, S, N, D]

    updated = write(arrays[0], keys), write(arrays[1], values)
    return read(updated[0]), read(updated[1]), updated
