"""A stack of Transformer blocks: layers are an axis of the weights, and scanned."""

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
    Past,
    Source,
    block,
    forget,
)
from attnjax.transformer.cache import (
    KVCache,
    allocate_slots,
    check_capacity,
    write_and_read,
)


class TransformerOutput(NamedTuple):
    """What a stack of blocks gives."""

    x: Float[Array, "B T M"]
    cache: Any  # a KVCache; None where none was given
    weights: Float[Array, "L B T S"]  # mean of the heads; of the source if one is read


def blocks(
    params: BlockParams,
    x: Float[Array, "B T M"],
    *,
    positions: Int[Array, "B T"],
    design: BlockDesign,
    cache: KVCache | None = None,
    source: Source | None = None,
    bias: Callable[[Array, Array], Array] | None = None,
    mask: Bool[Array, "B T S"] | None = None,
    rng: Array | None = None,
    remat: Callable[..., Any] | None = None,
) -> TransformerOutput:
    """Sends positions through a stack of blocks.

    The layers are one `lax.scan` over stacked weights, a few at a time: what is
    compiled does not grow with their number.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.1.

    Args:
      params: weights of all blocks, leaves [L, ...].
      x: embedded tokens, shape [B, T, M].
      positions: where each token stands, shape [B, T]; -1 is no token.
      design: what a block does.
      cache: of the tokens before; the new ones are added. None: x is all there is.
      source: keys and values of every block, leaves [L, B, N, S, D], and the mask
        [B, S] of the source that they read.
      bias: query and key positions -> what is added to the scores, [B, H, T, S].
      mask: True = may be seen, besides what positions decide, [B, T, S].
      rng: random key for dropout; None means none.
      remat: a policy of `jax.checkpoint_policies`: the layers' insides are made
        again in the backward pass, but for what it names. None keeps all.

    Returns:
      The positions transformed, the cache with them added, and the weights.

    Raises:
      ValueError: if more tokens come at once than the cache can take in while the
        first of them still sees its whole window.
    """
    if cache is not None:
        check_capacity(cache, x.shape[1], design.window)
        cache, slots = allocate_slots(cache, positions)
        key_positions = cache.positions
    else:
        slots, key_positions = positions, positions
    seen = design.sees(positions, key_positions)
    seen = (seen if mask is None else seen & mask)[:, None]
    biases = None if bias is None else bias(positions, key_positions)

    def body(carry: Any, layer: Any) -> Any:
        x, kept = carry
        index, own, read, layer_rng = layer
        update_cache = (
            forget if kept is None else partial(write_and_read, kept, index, slots)
        )
        past = Past(seen, biases, update_cache)
        reading = None if source is None else Source(read[0], read[1], source.mask)
        x, kept, weights = block(
            own, x, positions, past, reading, layer_rng, design=design
        )
        return (x, kept), weights

    L = jax.tree.leaves(params)[0].shape[0]
    rngs = None if rng is None else jax.random.split(rng, L)
    read = None if source is None else (source.keys, source.values)
    kept = None if cache is None else (cache.keys, cache.values)
    if remat is not None:
        body = jax.checkpoint(body, prevent_cse=False, policy=remat)
    layers = (jnp.arange(L), params, read, rngs)
    # Unrolled, the forward and the backward pass of what is made again could meet in
    # one computation, where the compiler would keep it after all.
    together = 1 if remat is not None else _layers_at_once(L)
    (x, kept), weights = lax.scan(body, (x, kept), layers, unroll=together)
    if cache is not None and kept is not None:
        cache = cache._replace(keys=kept[0], values=kept[1])
    return TransformerOutput(x, cache, weights)


def _layers_at_once(layers: int) -> int:
    """How many layers a turn of the scan has; it divides their number.

    One after the other in straight code they take 10 to 20 % less time than in a loop
    on a CPU: what is kept for the backward pass is not copied into stacked arrays.
    """
    return max(n for n in range(1, 5) if layers % n == 0)
