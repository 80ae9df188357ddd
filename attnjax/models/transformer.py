"""The Transformer: an encoder and a decoder made of attention and MLPs only.

Vaswani et al. 2017 (arXiv:1706.03762). Encoder positions attend to one another;
decoder positions attend to earlier target positions (self-attention) and to the
encoder (cross-attention).
"""

import dataclasses
from functools import partial
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from attnjax.core import positions as places
from attnjax.core.dropout import dropout
from attnjax.models._block_config import BlockConfig
from attnjax.models._checks import check_lengths
from attnjax.models._methods import batched
from attnjax.models._parts import (
    OutputLayer,
    embed,
    split_rng,
    token_positions,
)
from attnjax.models._sequence_model import SequenceModel
from attnjax.models._stacks import Stack
from attnjax.transformer.attention import MATERIALISED, Attention
from attnjax.transformer.block import EncoderMemory
from attnjax.transformer.cache import KVCache
from attnjax.transformer.stack import TransformerOutput


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of a Transformer; the defaults are the paper's base model."""

    source_vocab_size: int = 37_000
    """Number of source ids; a translation run sets it to its tokeniser's."""
    target_vocab_size: int = 37_000
    """Number of target ids; a translation run sets it to its tokeniser's."""
    encoder_layers: int = 6
    """Number of encoder blocks."""
    decoder_layers: int = 6
    """Number of decoder blocks."""
    block: BlockConfig = dataclasses.field(default_factory=BlockConfig)
    """Settings of every block."""
    max_length: int = 512
    """Number of learned positions of either side, and the default of the most tokens
    that are decoded."""
    share_embeddings: bool = True
    """Whether source, target and output share one table; needs a joint vocabulary."""
    output_bias: bool = False
    """Whether the logits have a learned bias."""
    cross_attention_score: Literal[
        "scaled_dot", "dot", "additive", "bilinear", "cosine"
    ] = "scaled_dot"
    """The score of cross-attention."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


def _memory_axes(memory: EncoderMemory) -> EncoderMemory:
    """Keys and values are [L, B, N, S, D], the mask is [B, S]."""
    return EncoderMemory(1, 1, 0)  # type: ignore[arg-type]  # axes, not arrays


class Transformer(SequenceModel):
    """Encoder and decoder.

    `encode` runs the encoder once; `start` and `step` decode token by token with a KV
    cache; calling the model scores known targets, all positions at once.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        rngs: nnx.Rngs,
        attention: Attention = MATERIALISED,
    ) -> None:
        if (
            config.share_embeddings
            and config.source_vocab_size != config.target_vocab_size
        ):
            raise ValueError(
                f"target_vocab_size: expected {config.source_vocab_size}, got "
                f"{config.target_vocab_size} (share_embeddings needs one joint "
                "vocabulary)"
            )
        self.config = config
        self._init_tables(rngs)
        glorot = jax.nn.initializers.glorot_uniform()
        stack = partial(
            Stack,
            config.block,
            draw=glorot,
            draw_output=glorot,
            attention=attention,
            rngs=rngs,
        )
        self.encoder = stack(
            num_layers=config.encoder_layers, causal=False, cross_attention_score=None
        )
        self.decoder = stack(
            num_layers=config.decoder_layers,
            causal=True,
            cross_attention_score=config.cross_attention_score,
        )

    def _init_tables(self, rngs: nnx.Rngs) -> None:
        """Initialises embeddings, positions and the output layer."""
        config, M = self.config, self.config.block.d_model

        def table(rows: int) -> nnx.Param:
            return nnx.Param(jax.random.normal(rngs.params(), (rows, M)) * M**-0.5)

        self.target_embedding = table(config.target_vocab_size)
        if not config.share_embeddings:
            self.source_embedding = table(config.source_vocab_size)
            self.w_output = table(config.target_vocab_size)
        if config.output_bias:
            self.b_output = nnx.Param(jnp.zeros(config.target_vocab_size))
        if config.block.position_embedding == "learned":
            self.source_positions = table(config.max_length)
            self.target_positions = table(config.max_length)

    @batched(batch_axes=_memory_axes)
    def encode(
        self, source: Array, mask: Array, rng: Array | None = None
    ) -> EncoderMemory:
        """Runs the encoder.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding, on either side; shape [B, S].
          rng: random key for dropout; None means none.

        Returns:
          Keys and values of every decoder block, [L, B, N, S, D], and the mask.

        Raises:
          ValueError: if positions are learned and there are fewer than source tokens
            in a row, where the mask is known; inside `jax.jit` the result is NaN.
        """
        rngs = split_rng(rng, 2)
        shared = self.config.share_embeddings
        table = self.target_embedding if shared else self.source_embedding
        positions = token_positions(mask)
        x = self._embed(table, source, positions, "source", rngs[0])
        states = self.encoder(x, positions, rng=rngs[1]).x
        return self.decoder.encoder_memory(states, mask)

    @batched
    def start(self, memory: EncoderMemory, capacity: int | None = None) -> KVCache:
        """Allocates the decoder's empty KV cache.

        Args:
          memory: what `encode` returned.
          capacity: the most tokens that will be decoded; None means `max_length`.
        """
        B, dtype = memory.mask.shape[0], memory.keys.dtype
        capacity = capacity or self.config.max_length
        return self.decoder.init_cache(B, capacity, dtype)

    @batched
    def step(
        self, memory: EncoderMemory, carry: KVCache, token: Array
    ) -> tuple[KVCache, Array, Array]:
        """Decodes one token.

        Args:
          memory: what `encode` returned.
          carry: what `start` or the last step returned.
          token: ids of the previous target token, shape [B].

        Returns:
          The new carry, logits [B, V] and cross-attention weights [B, S].
        """
        positions = carry.lengths[:, None]  # [B] -> [B, 1]
        x = self._embed(
            self.target_embedding, token[:, None], positions, "target", None
        )
        out = self.decoder(
            x,
            positions,
            cache=carry,
            memory=memory,
            weights_of=(self._alignment_layer,),
        )
        # [B, 1, M] -> [B, M]; [1, B, 1, S] -> [B, S]
        return out.cache, self.output.logits(out.x[:, 0]), out.weights[0, :, 0]

    @batched
    def __call__(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """As of `SequenceModel`; the weights are the alignment layer's."""
        layers = (self._alignment_layer,)
        out = self._run(source, mask, previous, rng, weights_of=layers)
        return self.output.logits(out.x), out.weights[0]

    @batched
    def features(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Any]:
        """As of `SequenceModel`, with None for weights: a loss needs none."""
        return self._run(source, mask, previous, rng, weights_of=()).x, None

    def features_and_weights(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        rng: Array | None = None,
        *,
        layer: int | None = None,
        heads: tuple[int, ...] = (),
    ) -> tuple[Array, Array]:
        """As of `SequenceModel`; by default the mean over the alignment layer's heads.

        Layer and heads are static: each choice is another program.
        """
        layers = (self._alignment_layer if layer is None else layer,)

        @batched
        def run(self: Self, *arrays: Any) -> tuple[Array, Array]:
            out = self._run(*arrays, weights_of=layers, heads=heads)
            return out.x, out.weights[0]

        return run(self, source, mask, previous, rng)

    def _run(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        rng: Array | None,
        *,
        weights_of: tuple[int, ...],
        heads: tuple[int, ...] = (),
    ) -> TransformerOutput:
        """Runs encoder and decoder over known targets."""
        rngs = split_rng(rng, 3)
        memory = self.encode(source, mask, rngs[0])
        # Of NumPy: known, also while a program is traced.
        counted = np.arange(previous.shape[1], dtype=np.int32)
        if self.config.block.position_embedding == "learned":
            check_lengths("target", counted, self.config.max_length)
        positions = jnp.broadcast_to(counted, previous.shape)
        x = self._embed(self.target_embedding, previous, positions, "target", rngs[1])
        return self.decoder(
            x,
            positions,
            memory=memory,
            rng=rngs[2],
            weights_of=weights_of,
            heads=heads,
        )

    @property
    def output(self) -> OutputLayer:
        """As of `SequenceModel`."""
        config, dtype = self.config, self.config.dtype
        table = self.target_embedding if config.share_embeddings else self.w_output
        bias = self.b_output[...].astype(dtype) if config.output_bias else None
        return OutputLayer(table[...].astype(dtype), bias)

    def _embed(
        self,
        table: nnx.Param,
        ids: Array,
        positions: Array,
        side: Literal["source", "target"],
        rng: Array | None,
    ) -> Array:
        """Embeds tokens, scales by the square root of M, adds positions: [B, T, M]."""
        block, dtype = self.config.block, self.config.dtype
        x = embed(table, ids, dtype) * jnp.asarray(block.d_model**0.5, dtype)
        if block.position_embedding == "sinusoidal":
            x = x + places.sinusoidal(positions, block.d_model, dtype=jnp.dtype(dtype))
        elif block.position_embedding == "learned":
            check_lengths(side, positions, self.config.max_length)
            learned = (
                self.source_positions if side == "source" else self.target_positions
            )
            x = x + places.learned(learned[...].astype(dtype), positions)
        return dropout(rng, x, rate=block.dropout)

    @property
    def _alignment_layer(self) -> int:
        """The last decoder layer but one, whose mean over heads aligns best.

        Source: Garg et al. 2019 (arXiv:1909.02074), section 4.1.
        """
        return max(0, self.config.decoder_layers - 2)
