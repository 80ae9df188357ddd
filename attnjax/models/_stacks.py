"""Stacks of Transformer blocks with their weights."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from flax import nnx
from jax import Array

from attnjax.core import biases, scores
from attnjax.core import positions as places
from attnjax.models._block_config import (
    ACTIVATIONS,
    REMAT,
    BlockConfig,
    Draw,
    init_block,
    init_norm,
)
from attnjax.models._parts import Params
from attnjax.transformer.block import (
    AttentionParams,
    BlockDesign,
    Source,
    bidirectional_mask,
    causal_mask,
    encoder_memory,
    no_rotation,
    normalise,
    sliding_window_mask,
)
from attnjax.transformer.cache import KVCache, init_cache
from attnjax.transformer.head_scores import HEAD_SCORES
from attnjax.transformer.stack import TransformerOutput, blocks


class Stack(nnx.Module):
    """L blocks, and a norm after the last where blocks normalise their input."""

    def __init__(
        self,
        config: BlockConfig,
        *,
        layers: int,
        causal: bool,
        reading: str | None,
        draw: Draw,
        draw_output: Draw,
        rngs: nnx.Rngs,
    ) -> None:
        """Draws the weights.

        Args:
          config: what a block is.
          layers: L.
          causal: whether a position sees its past only.
          reading: the score with which a source is read, of `HEAD_SCORES`; None
            where there is none.
          draw: how matrices are drawn.
          draw_output: how matrices are drawn that end in the residual sum.
          rngs: the stream `params` is drawn from.
        """
        config.check()
        self.config = config
        self.num_layers = layers
        self.causal = causal
        self.reading = reading
        make = partial(
            init_block, config, reading=reading, draw=draw, draw_output=draw_output
        )
        self.blocks = Params(jax.vmap(make)(jax.random.split(rngs.params(), layers)))
        if config.pre_norm:
            self.norm = Params(init_norm(config))
        if config.position_embedding == "relative":
            shape = (32, config.num_heads)
            self.relative = nnx.Param(draw(rngs.params(), shape))

    def __call__(
        self,
        x: Array,
        positions: Array,
        *,
        cache: KVCache | None = None,
        source: Source | None = None,
        mask: Array | None = None,
        rng: Array | None = None,
    ) -> TransformerOutput:
        """Sends positions [B, T, M] through the blocks; arguments as of `blocks`."""
        out = blocks(
            self.blocks(x.dtype),
            x,
            positions=positions,
            design=self.design,
            cache=cache,
            source=source,
            bias=self._bias,
            mask=mask,
            rng=rng,
            remat=REMAT[self.config.remat],
        )
        if not self.config.pre_norm:
            return out
        return out._replace(x=normalise(self.norm(x.dtype), out.x, self.design))

    def source(self, states: Array, mask: Array) -> Source:
        """Keys and values of every block, [L, B, N, S, D], for states [B, S, M]."""
        design = self.design

        def project(reading: AttentionParams) -> tuple[Array, Array]:
            return encoder_memory(reading, states, design=design)

        # One block at a time: narrow weight gradients of batched products are slow,
        # and not to be had on every backend.
        keys, values = jax.lax.map(project, self.blocks(states.dtype).reading)
        return Source(keys, values, mask)

    def empty(self, batch_size: int, size: int, dtype: Any) -> KVCache:
        """A cache of `size` slots that has seen nothing."""
        config = self.config
        return init_cache(
            batch_size=batch_size,
            layers=self.num_layers,
            size=size,
            key_heads=config.num_kv_heads or config.num_heads,
            width=config.head_width,
            dtype=dtype,
        )

    @property
    def design(self) -> BlockDesign:
        """What a block does."""
        config = self.config
        window = config.sliding_window if self.causal else None
        score = scores.scaled_dot
        if config.logit_softcap is not None:
            score = scores.softcap(score, cap=config.logit_softcap)
        past = causal_mask if window is None else sliding_window_mask(window)
        return BlockDesign(
            heads=config.num_heads,
            key_heads=config.num_kv_heads or config.num_heads,
            sees=past if self.causal else bidirectional_mask,
            window=window,
            turn=self._turn if config.position_embedding == "rope" else no_rotation,
            score=score,
            cross_attention_score=HEAD_SCORES[self.reading or "scaled_dot"].score,
            pre_norm=config.pre_norm,
            norm_epsilon=config.norm_epsilon,
            rms=config.rms,
            activation=ACTIVATIONS[config.activation],
            dropout=config.dropout,
        )

    def _turn(self, x: Array, positions: Array) -> Array:
        frequencies = self.config.rope_frequencies()
        return places.apply_rope(x, positions[..., None], frequencies=frequencies)

    @property
    def _bias(self) -> Callable[[Array, Array], Array] | None:
        if self.config.position_embedding == "alibi":
            slopes = biases.alibi_slopes(self.config.num_heads)
            return lambda q, k: biases.alibi(q, k, slopes)
        if self.config.position_embedding == "relative":
            return self._relative_bias
        return None

    def _relative_bias(self, query_positions: Array, key_positions: Array) -> Array:
        table = self.relative[...]
        buckets = biases.relative_buckets(
            query_positions,
            key_positions,
            buckets=table.shape[0],
            bidirectional=not self.causal,
        )
        return biases.relative_bias(table, buckets)
