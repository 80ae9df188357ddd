"""Stacks of Transformer blocks with their parameters."""

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
    Initializer,
    init_block,
    init_norm,
)
from attnjax.models._parts import Params
from attnjax.transformer.block import (
    AttentionParams,
    BlockDesign,
    EncoderMemory,
    bidirectional_mask,
    causal_mask,
    no_rotation,
    normalise,
    project_encoder_states,
    sliding_window_mask,
)
from attnjax.transformer.cache import KVCache, init_cache
from attnjax.transformer.head_scores import HEAD_SCORES
from attnjax.transformer.stack import TransformerOutput, transformer_stack


class Stack(nnx.Module):
    """L blocks, and a norm after the last where blocks normalise their input."""

    def __init__(
        self,
        config: BlockConfig,
        *,
        num_layers: int,
        causal: bool,
        cross_attention_score: str | None,
        initializer: Initializer,
        init_output: Initializer,
        rngs: nnx.Rngs,
    ) -> None:
        """Initialises the parameters.

        Args:
          config: settings of every block.
          num_layers: L.
          causal: whether a position attends to itself and earlier ones only.
          cross_attention_score: row of `HEAD_SCORES`; None: no cross-attention.
          initializer: initialiser of matrices.
          init_output: initialiser of matrices whose output enters the residual sum.
          rngs: its stream `params` is used.
        """
        config.check()
        self.config = config
        self.num_layers = layers
        self.causal = causal
        self.cross_attention_score = cross_attention_score
        make = partial(
            init_block,
            config,
            cross_attention_score=cross_attention_score,
            initializer=initializer,
            init_output=init_output,
        )
        self.blocks = Params(
            jax.vmap(make)(jax.random.split(rngs.params(), num_layers))
        )
        if config.pre_norm:
            self.norm = Params(init_norm(config))
        if config.position_embedding == "relative":
            shape = (32, config.num_heads)
            self.relative = nnx.Param(initializer(rngs.params(), shape))

    def __call__(
        self,
        x: Array,
        positions: Array,
        *,
        cache: KVCache | None = None,
        memory: EncoderMemory | None = None,
        mask: Array | None = None,
        rng: Array | None = None,
    ) -> TransformerOutput:
        """Applies the blocks to x [B, T, M]; arguments as in `transformer_stack`."""
        out = transformer_stack(
            self.blocks(x.dtype),
            x,
            positions=positions,
            design=self.design,
            cache=cache,
            memory=memory,
            bias=self._bias,
            mask=mask,
            rng=rng,
            remat=REMAT[self.config.remat],
        )
        if not self.config.pre_norm:
            return out
        return out._replace(x=normalise(self.norm(x.dtype), out.x, self.design))

    def encoder_memory(self, states: Array, mask: Array) -> EncoderMemory:
        """Projects encoder states [B, S, M] for every block: [L, B, N, S, D]."""
        design = self.design

        def project(params: AttentionParams) -> tuple[Array, Array]:
            return project_encoder_states(params, states, design=design)

        # One block at a time: the parameter gradient of a batched low-precision dot is
        # slow on CPU, and some backends do not implement it.
        keys, values = jax.lax.map(project, self.blocks(states.dtype).cross_attention)
        return EncoderMemory(keys, values, mask)

    def empty(self, batch_size: int, size: int, dtype: Any) -> KVCache:
        """Makes an empty KV cache with `size` slots."""
        config = self.config
        return init_cache(
            batch_size=batch_size,
            num_layers=self.num_layers,
            size=size,
            num_kv_heads=config.num_kv_heads or config.num_heads,
            head_dim=config.head_dim,
            dtype=dtype,
        )

    @property
    def design(self) -> BlockDesign:
        """Static settings of a block."""
        config = self.config
        window = config.sliding_window if self.causal else None
        score = scores.scaled_dot
        if config.logit_softcap is not None:
            score = scores.softcap(score, cap=config.logit_softcap)
        past = causal_mask if window is None else sliding_window_mask(window)
        return BlockDesign(
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads or config.num_heads,
            mask_fn=past if self.causal else bidirectional_mask,
            sliding_window=window,
            rotate=self._apply_rope
            if config.position_embedding == "rope"
            else no_rotation,
            score=score,
            cross_attention_score=HEAD_SCORES[
                self.cross_attention_score or "scaled_dot"
            ].score,
            pre_norm=config.pre_norm,
            norm_epsilon=config.norm_epsilon,
            rms=config.rms,
            activation=ACTIVATIONS[config.activation],
            dropout=config.dropout,
        )

    def _apply_rope(self, x: Array, positions: Array) -> Array:
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
