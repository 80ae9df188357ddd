"""A cache of the keys and values that a stack of Transformer blocks has made."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

CacheArrays = tuple[Array, Array]  # keys and values of all layers


class KVCache(NamedTuple):
    """What a stack of L blocks remembers of the tokens it has seen.

    The slot of a token is its position modulo S, so with a window of fewer than S
    positions a cache serves texts of any length. Heads come before slots, as in the
    products that read it: one step then copies nothing of what it reads.
    """

    keys: Float[Array, "B L N S D"]
    values: Float[Array, "B L N S D"]
    positions: Int[Array, "B S"]  # of the token in each slot; -1: free
    lengths: Int[Array, "B"]  # tokens seen, which is the next position


def init_cache(
    *, batch_size: int, layers: int, size: int, key_heads: int, width: int, dtype: Any
) -> KVCache:
    """A cache that has seen nothing, with `size` slots of keys of width D."""
    shape = (batch_size, layers, key_heads, size, width)
    return KVCache(
        keys=jnp.zeros(shape, dtype),
        values=jnp.zeros(shape, dtype),
        positions=jnp.full((batch_size, size), -1, jnp.int32),
        lengths=jnp.zeros(batch_size, jnp.int32),
    )


def check_capacity(cache: KVCache, T: int, window: int | None) -> None:
    """Checks that T tokens at once leave the first of them its window.

    Raises:
      ValueError: if a slot that it sees would be taken by the last of them.
    """
    S, before = cache.positions.shape[1], window or 0
    if before + T > S:
        raise ValueError(
            f"cache: expected at least {before + T} slots for {T} tokens at once"
            + (f" and a window of {before} before each" if before else "")
            + f", got {S} (give fewer tokens at a time, or make it with a larger size)"
        )


def allocate_slots(
    cache: KVCache, positions: Int[Array, "B T"]
) -> tuple[KVCache, Int[Array, "B T"]]:
    """Gives new tokens their slots: the cache that knows of them, and the slots.

    A token at position -1 gets slot S, which is out of range: nothing is kept of it.
    """
    B, S = cache.positions.shape
    slots = jnp.where(positions >= 0, positions % S, S)
    rows = jnp.arange(B)[:, None]
    known = cache.positions.at[rows, slots].set(positions, mode="drop")
    lengths = jnp.maximum(cache.lengths, positions.max(axis=1) + 1)
    return cache._replace(positions=known, lengths=lengths), slots


def write_and_read(
    kept: CacheArrays,
    layer: Int[Array, ""],
    slots: Int[Array, "B T"],
    keys: Float[Array, "B T N D"],
    values: Float[Array, "B T N D"],
) -> tuple[Array, Array, CacheArrays]:
    """Puts one layer's new keys and values into their slots.

    Returns:
      All that the layer may read, twice [B, S, N, D], and what is kept of all layers.
    """
    rows = jnp.arange(slots.shape[0])[:, None]

    def put(old: Array, new: Array) -> Array:
        return old.at[rows, layer, :, slots].set(new.astype(old.dtype), mode="drop")

    def own(x: Array) -> Array:
        x = lax.dynamic_index_in_dim(x, layer, axis=1, keepdims=False)
        return x.swapaxes(1, 2)

    every = put(kept[0], keys), put(kept[1], values)
    return own(every[0]), own(every[1]), every
