"""A stack of Transformer blocks: one scan over the layer axis of the parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.transformer.block import (
    BlockDesign,
    BlockParams,
    EncoderMemory,
    SelfAttentionContext,
    block,
    no_cache,
)
from attnjax.transformer.cache import (
    KVCache,
    allocate_slots,
    check_capacity,
    write_and_read,
)


class TransformerOutput(NamedTuple):
    """The output of a stack of blocks."""

    x: Float[Array, "B T M"]
    cache: Any  # the updated KVCache; None if none was given
    weights: Float[
        Array, "L B T S"
    ]  # mean over heads; of cross-attention if there is a memory


def transformer_stack(
    params: BlockParams,
    x: Float[Array, "B T M"],
    *,
    positions: Int[Array, "B T"],
    design: BlockDesign,
    cache: KVCache | None = None,
    memory: EncoderMemory | None = None,
    bias: Callable[[Array, Array], Array] | None = None,
    mask: Bool[Array, "B T S"] | None = None,
    rng: Array | None = None,
    remat: Callable[..., Any] | None = None,
) -> TransformerOutput:
    """Applies a stack of blocks.

    The layers are one `lax.scan` over stacked parameters, a few layers per iteration,
    so compile time does not grow with their number.

    EncoderMemory: Vaswani et al. 2017 (arXiv:1706.03762), section 3.1.

    Args:
      params: parameters of all blocks, leaves [L, ...].
      x: embedded tokens, shape [B, T, M].
      positions: position of each token, shape [B, T]; -1 is padding.
      design: static settings of a block.
      cache: KV cache of the tokens before, to which these are added; None means that
        there are none.
      memory: keys and values of every block, leaves [L, B, N, S, D], and the mask
        [B, S] of the source.
      bias: query and key positions -> bias added to the scores, [B, H, T, S].
      mask: True = attend, in addition to the mask by positions, [B, T, S].
      rng: random key for dropout; None means none.
      remat: policy of `jax.checkpoint_policies` that says which activations of a layer
        to save; the backward pass recomputes the others. None saves all.

    Returns:
      The new x, the updated cache, and the weights.

    Raises:
      ValueError: if the cache has no capacity for so many tokens at once.
    """
    if cache is not None:
        check_capacity(cache, x.shape[1], design.sliding_window)
        cache, slots = allocate_slots(cache, positions)
        key_positions = cache.positions
    else:
        slots, key_positions = positions, positions
    visible = design.mask_fn(positions, key_positions)
    visible = (visible if mask is None else visible & mask)[:, None]
    biases = None if bias is None else bias(positions, key_positions)

    def body(carry: Any, layer: Any) -> Any:
        x, arrays = carry
        index, block_params, projected, layer_rng = layer
        update_cache = (
            no_cache
            if arrays is None
            else partial(write_and_read, arrays, index, slots)
        )
        own = SelfAttentionContext(visible, biases, update_cache)
        layer_memory = (
            None
            if memory is None
            else EncoderMemory(projected[0], projected[1], memory.mask)
        )
        x, arrays, weights = block(
            block_params, x, positions, own, layer_memory, layer_rng, design=design
        )
        return (x, arrays), weights

    L = jax.tree.leaves(params)[0].shape[0]
    rngs = None if rng is None else jax.random.split(rng, L)
    projected = None if memory is None else (memory.keys, memory.values)
    arrays = None if cache is None else (cache.keys, cache.values)
    if remat is not None:
        body = jax.checkpoint(body, prevent_cse=False, policy=remat)
    layers = (jnp.arange(L), params, projected, rngs)
    # Unrolled, XLA could merge the recomputation with the forward pass (CSE) and defeat
    # remat.
    unroll = 1 if remat is not None else _layers_at_once(L)
    (x, arrays), weights = lax.scan(body, (x, arrays), layers, unroll=unroll)
    if cache is not None and arrays is not None:
        cache = cache._replace(keys=arrays[0], values=arrays[1])
    return TransformerOutput(x, cache, weights)


def _layers_at_once(layers: int) -> int:
    """Number of layers per iteration of the scan, a divisor of their number.

    On a CPU unrolled layers take 10 to 20 % less time than a loop: their residuals are
    not copied into stacked arrays.
    """
    return max(n for n in range(1, 5) if layers % n == 0)
