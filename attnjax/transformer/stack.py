"""A stack of Transformer blocks: one `lax.scan` over parameters stacked by layer."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.core import precision
from attnjax.core._checks import broadcasting
from attnjax.core.masks import AttentionMask
from attnjax.transformer.block import (
    BlockDesign,
    BlockParams,
    EncoderMemory,
    Shared,
    block,
)
from attnjax.transformer.cache import (
    KVCache,
    LayerCache,
    allocate,
    check_capacity,
    check_full,
)


class TransformerOutput(NamedTuple):
    """What a stack of blocks returns."""

    x: Float[Array, "B T M"]
    cache: Any  # the updated KVCache; None where none was given
    # Means over heads, of the W layers that were asked for: of cross-attention where
    # there is one, else of self-attention.
    weights: Float[Array, "W B T S"]


@broadcasting
def transformer_stack(
    params: BlockParams,
    x: Float[Array, "B T M"],
    *,
    positions: Int[Array, "B T"],
    design: BlockDesign,
    cache: KVCache | None = None,
    memory: EncoderMemory | None = None,
    bias: Callable[[Array, Array], Array] | None = None,
    segments: Int[Array, "B T"] | None = None,
    mask: Bool[Array, "B T S"] | None = None,
    rng: Array | None = None,
    remat: Callable[..., Any] | None = None,
    weights_of: tuple[int, ...] = (),
    heads: tuple[int, ...] = (),
) -> TransformerOutput:
    """Applies a stack of blocks.

    The layers are a `lax.scan`, so compile time does not grow with their number.
    Called outside `jax.jit`, it compiles once per design and shape.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.1.

    Args:
      params: parameters of all blocks, leaves [L, ...].
      x: embedded tokens, shape [B, T, M].
      positions: position of each token, shape [B, T]; -1 is padding. Without a cache,
        positions rise along the array (within each segment).
      design: what a block computes.
      cache: keys and values of the tokens before; None attends to `x` only.
      memory: keys and values of every block's cross-attention, [L, B, N, S, D], and
        the source mask [B, S].
      bias: maps query and key positions to what is added to the scores of
        self-attention, [B, H, T, S].
      segments: which of several packed sequences a token belongs to, shape [B, T].
      mask: further mask of self-attention, True = attend, shape [B, T, S].
      rng: random key for dropout; None means none.
      remat: a policy of `jax.checkpoint_policies`: the backward pass recomputes each
        layer except for what the policy saves. None saves all activations.
      weights_of: layers whose attention weights are returned. Weights of other layers
        are not computed apart from the contexts, nor kept.
      heads: query heads that these weights are the mean of; by default all.

    Returns:
      The residual stream after the last block, the cache with the new tokens, and the
      attention weights. Without a sliding window, a token for which the cache has no
      slot gets NaN where its position is not known yet.

    Raises:
      ValueError: if the cache has too few slots for the new tokens beside the sliding
        window of the first of them, a token whose position is known has no slot, or
        `weights_of` names no layer.
    """
    L = jax.tree.leaves(params)[0].shape[0]
    _check_range("weights_of", "layers", weights_of, L)
    _check_range("heads", "heads", heads, design.num_heads)
    slots, full, key_positions = None, None, positions
    if cache is not None:
        check_capacity(cache, x.shape[1], design.sliding_window)
        ring = design.sliding_window is not None
        full = None if ring else check_full(cache, positions)
        cache, slots = allocate(cache, positions, ring=ring)
        key_positions = cache.positions
    self_mask = AttentionMask(
        query_positions=positions,
        key_positions=key_positions,
        causal=design.causal,
        sliding_window=design.sliding_window,
        query_segments=segments,
        key_segments=segments,
        dense=mask,
        in_order=cache is None,
    )
    x, arrays, weights = _layers(
        params,
        x,
        self_mask,
        None if bias is None else bias(positions, key_positions),
        None if cache is None else (cache.keys, cache.values),
        slots,
        memory,
        None if rng is None else jax.random.split(rng, L),
        design=design,
        remat=remat,
        weights_of=weights_of,
        heads=heads,
    )
    if cache is not None:
        cache = cache._replace(keys=arrays[0], values=arrays[1])
    if full is not None:
        x = jnp.where(full[..., None], jnp.nan, x)  # [B, T] -> [B, T, 1]
    return TransformerOutput(x, cache, weights)


# Inlined into an outer jit, it leaves no trace there; called eagerly, it is compiled
# once and then found in jit's cache.
@partial(
    jax.jit, static_argnames=("design", "remat", "weights_of", "heads"), inline=True
)
def _layers(
    params: BlockParams,
    x: Array,
    self_mask: AttentionMask,
    bias: Array | None,
    arrays: tuple[Array, Array] | None,
    slots: Any,  # [B, T]; None without a cache
    memory: EncoderMemory | None,
    rngs: Array | None,
    *,
    design: BlockDesign,
    remat: Callable[..., Any] | None,
    weights_of: tuple[int, ...],
    heads: tuple[int, ...],
) -> tuple[Array, Any, Array]:
    """Scans the blocks: x, the cache's arrays, and the weights [W, B, T, S]."""
    shared = _share(self_mask, memory, bias, design)
    weights = _no_weights(x, shared, len(weights_of))

    def body(carry: Any, layer: Any) -> Any:
        x, arrays, weights = carry
        index, own, keys_values, rng = layer
        out = block(
            own,
            x,
            shared,
            cache=None
            if arrays is None
            else LayerCache(arrays[0], arrays[1], index, slots),
            memory=None
            if memory is None
            else EncoderMemory(keys_values[0], keys_values[1], memory.mask),
            rng=rng,
            design=design,
        )
        arrays = None if out.cache is None else (out.cache.keys, out.cache.values)
        weights = _keep_weights(
            weights, index, weights_of, partial(out.weights, heads=heads)
        )
        return (out.x, arrays, weights), None

    L = jax.tree.leaves(params)[0].shape[0]
    if remat is not None:
        body = jax.checkpoint(body, prevent_cse=False, policy=remat)
    keys_values = None if memory is None else (memory.keys, memory.values)
    # prevent_cse=False is safe inside a loop only: unrolled, XLA could merge the
    # recomputation with the forward pass (CSE) and defeat remat.
    unroll = 1 if remat is not None else _unroll(L)
    layers = (jnp.arange(L, dtype=jnp.int32), params, keys_values, rngs)
    carry, _ = lax.scan(body, (x, arrays, weights), layers, unroll=unroll)
    return carry


def _share(
    self_mask: AttentionMask,
    memory: EncoderMemory | None,
    bias: Array | None,
    design: BlockDesign,
) -> Shared:
    """Prepares the masks, outside the loop over layers."""
    cross_mask = None
    if memory is not None:
        S = memory.mask.shape[1]
        cross_mask = AttentionMask(
            query_positions=self_mask.query_positions,
            key_positions=jnp.where(memory.mask, jnp.arange(S, dtype=jnp.int32), -1),
        )
    prepare = design.attention.prepare_mask
    prepared = (
        prepare(self_mask),
        None if cross_mask is None else prepare(cross_mask),
    )
    return Shared(self_mask.query_positions, self_mask, cross_mask, prepared, bias)


def _no_weights(x: Array, shared: Shared, count: int) -> Array:
    """The buffer [W, B, T, S] before the first layer."""
    mask = shared.mask if shared.cross_mask is None else shared.cross_mask
    (B, T), S = mask.query_positions.shape, mask.key_positions.shape[1]
    buffer = jnp.zeros((count, B, T, S), x.dtype)
    # Inside `shard_map` a scan's carry must vary over the same devices all along.
    buffer, _ = precision.same_devices((buffer, x))
    return buffer


def _keep_weights(
    buffer: Array, index: Array, weights_of: tuple[int, ...], weights: Any
) -> Array:
    """Computes the weights of a layer, if it is one of those asked for."""
    if not weights_of:
        return buffer
    chosen = jnp.array(weights_of, jnp.int32) == index  # [W]

    def keep(buffer: Array) -> Array:
        found = weights().astype(buffer.dtype)
        # [W] -> [W, 1, 1, 1]
        return jnp.where(chosen[:, None, None, None], found, buffer)

    return lax.cond(chosen.any(), keep, lambda buffer: buffer, buffer)


def _check_range(name: str, what: str, asked: tuple[int, ...], size: int) -> None:
    wrong = [index for index in asked if not 0 <= index < size]
    if wrong:
        raise ValueError(
            f"{name}: expected {what} from 0 to {size - 1}, got {wrong[0]} "
            "(count from the first)"
        )


def _unroll(layers: int) -> int:
    """How many layers an iteration of the scan has: the largest divisor up to 4.

    On CPU, straight-line code takes 10 to 20 % less time than a loop of single
    layers: activations saved for the backward pass are not copied into stacked arrays.
    """
    return max(n for n in range(1, 5) if layers % n == 0)
