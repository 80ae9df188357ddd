"""Stacks of Transformer blocks that own their parameters."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
from flax import nnx
from jax import Array

from attnjax.core import biases, scores
from attnjax.models._block_config import (
    ACTIVATIONS,
    REMAT,
    BlockConfig,
    Draw,
    init_block,
    init_norm,
)
from attnjax.models._parts import Params
from attnjax.transformer.attention import Attention
from attnjax.transformer.block import (
    AttentionParams,
    BlockDesign,
    EncoderMemory,
    normalise,
    project_memory,
)
from attnjax.transformer.cache import KVCache, init_cache
from attnjax.transformer.head_scores import HEAD_SCORES
from attnjax.transformer.stack import TransformerOutput, transformer_stack


class Stack(nnx.Module):
    """L blocks, and a final norm where the blocks are pre-norm."""

    def __init__(
        self,
        config: BlockConfig,
        *,
        num_layers: int,
        causal: bool,
        cross_attention_score: str | None,
        draw: Draw,
        draw_output: Draw,
        attention: Attention,
        rngs: nnx.Rngs,
    ) -> None:
        """Initialises the parameters.

        Args:
          config: settings of the blocks.
          num_layers: L.
          causal: whether a position attends to itself and earlier positions only.
          cross_attention_score: the score of cross-attention, of `HEAD_SCORES`; None
            builds blocks without cross-attention.
          draw: initialiser of matrices.
          draw_output: initialiser of the matrices whose output is added to the
            residual stream.
          attention: the attention function of all blocks.
          rngs: the stream `params` is drawn from.
        """
        config.check()
        self.config = config
        self.num_layers = num_layers
        self.causal = causal
        self.cross_attention_score = cross_attention_score
        self.attention = attention
        init = partial(
            init_block,
            config,
            cross_attention_score=cross_attention_score,
            draw=draw,
            draw_output=draw_output,
        )
        keys = jax.random.split(rngs.params(), num_layers)
        self.blocks = Params(jax.vmap(init)(keys))
        if config.pre_norm:
            self.norm = Params(init_norm(config))
        if config.position_embedding == "relative":
            shape = (32, config.num_heads)
            self.relative = nnx.Param(draw(rngs.params(), shape))

    def __call__(self, x: Array, positions: Array, **options: Any) -> TransformerOutput:
        """Applies the blocks to [B, T, M].

        The options are those of `transformer_stack`: cache, memory, segments, mask,
        rng, weights_of.
        """
        out = transformer_stack(
            self.blocks(x.dtype),
            x,
            positions=positions,
            design=self.design,
            bias=self._bias,
            remat=REMAT[self.config.remat],
            **options,
        )
        if not self.config.pre_norm:
            return out
        return out._replace(x=normalise(self.norm(x.dtype), out.x, self.design))

    def encoder_memory(self, states: Array, mask: Array) -> EncoderMemory:
        """Projects encoder states [B, S, M] for every block: [L, B, N, S, D]."""
        params = self.blocks(states.dtype).cross_attention
        keys, values = _project_layers(params, states, design=self.design)
        return EncoderMemory(keys, values, mask)

    def init_cache(self, batch_size: int, capacity: int, dtype: Any) -> KVCache:
        """Allocates an empty cache with `capacity` slots a row."""
        return init_cache(
            batch_size=batch_size,
            num_layers=self.num_layers,
            capacity=capacity,
            num_kv_heads=self.config.kv_heads,
            head_dim=self.config.resolved_head_dim,
            dtype=dtype,
        )

    @property
    def design(self) -> BlockDesign:
        """What a block computes."""
        return _design(
            self.config, self.causal, self.cross_attention_score, self.attention
        )

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


# Compiled where it is called eagerly; inside a program it leaves no trace.
@partial(jax.jit, static_argnames="design", inline=True)
def _project_layers(
    params: AttentionParams, states: Array, *, design: BlockDesign
) -> tuple[Array, Array]:
    """Keys and values of every layer, [L, B, N, S, D]."""

    def project(params: AttentionParams) -> tuple[Array, Array]:
        return project_memory(params, states, design=design)

    # One layer at a time: batched, the bf16 dots of the parameters' gradients are
    # slow, and not implemented on every backend.
    return jax.lax.map(project, params)


# Cached, because a capped score is a new function each time it is made, and jit
# compiles anew for a static argument that does not equal the last.
@cache
def _design(
    config: BlockConfig,
    causal: bool,
    cross_attention_score: str | None,
    attention: Attention,
) -> BlockDesign:
    score = scores.scaled_dot
    if config.logit_softcap is not None:
        score = scores.softcap(score, cap=config.logit_softcap)
    rope = config.position_embedding == "rope"
    return BlockDesign(
        num_heads=config.num_heads,
        num_kv_heads=config.kv_heads,
        causal=causal,
        sliding_window=config.sliding_window if causal else None,
        rope_frequencies=tuple(config.rope_frequencies().tolist()) if rope else None,
        rope_attention_factor=config.rope_attention_scale,
        score=score,
        cross_attention_score=HEAD_SCORES[cross_attention_score or "scaled_dot"].score,
        attention=attention,
        pre_norm=config.pre_norm,
        norm_epsilon=config.norm_epsilon,
        rms=config.rms,
        activation=ACTIVATIONS[config.activation],
        dropout=config.dropout,
    )
