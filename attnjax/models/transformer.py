"""The Transformer: translation by attention alone.

Vaswani et al. 2017 (arXiv:1706.03762): an encoder with self-attention, a decoder with
causal self-attention and cross-attention to the encoder's output.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core import positions as position_embeddings
from attnjax.core.dropout import dropout
from attnjax.models._block_config import BlockConfig
from attnjax.models._parts import OutputLayer, SequenceModel, embed, split_rng
from attnjax.models._stacks import Stack
from attnjax.transformer.block import EncoderMemory
from attnjax.transformer.cache import KVCache
from attnjax.transformer.stack import TransformerOutput


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of a Transformer; the defaults are the paper's base model."""

    source_vocab_size: int = 37_000
    """Size of the source vocabulary; a translation run sets it from its tokeniser."""
    target_vocab_size: int = 37_000
    """Size of the target vocabulary; a translation run sets it from its tokeniser."""
    encoder_layers: int = 6
    """Number of encoder blocks."""
    decoder_layers: int = 6
    """Number of decoder blocks."""
    block: BlockConfig = dataclasses.field(default_factory=BlockConfig)
    """Settings of every block."""
    max_length: int = 512
    """Number of learned positions of each side, and the default capacity of the KV
    cache."""
    share_embeddings: bool = True
    """Whether source, target and output share one embedding table and vocabulary."""
    output_bias: bool = False
    """Whether the output layer has a bias."""
    cross_attention_score: Literal[
        "scaled_dot", "dot", "additive", "bilinear", "cosine"
    ] = "scaled_dot"
    """Score of cross-attention."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute dtype; parameters are float32."""


class Transformer(SequenceModel):
    """Encoder and decoder.

    `encode` encodes a source once, `start` and `step` decode token by token with a KV
    cache, and the call decodes a known target at once (teacher forcing).
    """

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs) -> None:
        if (
            config.share_embeddings
            and config.source_vocab_size != config.target_vocab_size
        ):
            raise ValueError(
                f"target_vocab_size: expected {config.source_vocab_size}, got "
                f"{config.target_vocab_size} (with share_embeddings both sides share "
                "one vocabulary)"
            )
        self.config = config
        M = config.block.d_model
        rng, glorot = rngs.params, jax.nn.initializers.glorot_uniform()

        def table(rows: int) -> nnx.Param:
            return nnx.Param(jax.random.normal(rng(), (rows, M)) * M**-0.5)

        self.target_embedding = table(config.target_vocab_size)
        if not config.share_embeddings:
            self.source_embedding = table(config.source_vocab_size)
            self.w_output = table(config.target_vocab_size)
        if config.output_bias:
            self.b_output = nnx.Param(jnp.zeros(config.target_vocab_size))
        if config.block.position_embedding == "learned":
            self.source_positions = table(config.max_length)
            self.target_positions = table(config.max_length)
        self.encoder = Stack(
            config.block,
            num_layers=config.encoder_layers,
            causal=False,
            cross_attention_score=None,
            initializer=glorot,
            init_output=glorot,
            rngs=rngs,
        )
        self.decoder = Stack(
            config.block,
            num_layers=config.decoder_layers,
            causal=True,
            cross_attention_score=config.cross_attention_score,
            initializer=glorot,
            init_output=glorot,
            rngs=rngs,
        )

    def encode(
        self, source: Array, mask: Array, rng: Array | None = None
    ) -> EncoderMemory:
        """Encodes source sentences.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding after it, shape [B, S].
          rng: random key for dropout; None means none.

        Returns:
          Keys and values of every decoder block, [L, B, N, S, D], and the mask.

        Raises:
          ValueError: if positions are learned and the source is longer than they are.
        """
        rngs = split_rng(rng, 2)
        shared = self.config.share_embeddings
        table = self.target_embedding if shared else self.source_embedding
        positions = jnp.where(mask, jnp.arange(source.shape[1]), -1)
        x = self._embed(table, source, positions, "source", rngs[0])
        states = self.encoder(x, positions, rng=rngs[1]).x
        return self.decoder.encoder_memory(states, mask)

    def start(
        self, memory: EncoderMemory, max_decode_length: int | None = None
    ) -> KVCache:
        """Makes an empty KV cache for decoding.

        Args:
          memory: what `encode` returned.
          max_decode_length: most tokens that are decoded; `max_length` by default.
        """
        B, dtype = memory.mask.shape[0], memory.keys.dtype
        return self.decoder.empty(B, max_decode_length or self.config.max_length, dtype)

    def step(
        self, memory: EncoderMemory, carry: KVCache, token: Array
    ) -> tuple[KVCache, Array, Array]:
        """Decodes one token.

        Args:
          memory: what `encode` returned.
          carry: what `start` or the last step returned.
          token: ids of the last decoded token, shape [B].

        Returns:
          The new carry, logits [B, V] and weights [B, S].
        """
        positions = carry.lengths[:, None]
        table = self.target_embedding
        x = self._embed(table, token[:, None], positions, "target", None)
        out = self.decoder(x, positions, cache=carry, memory=memory)
        logits = self.output.logits(out.x[:, 0])
        return out.cache, logits, self._alignment(out)[:, 0]

    def features(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """See `SequenceModel`."""
        rngs = split_rng(rng, 3)
        memory = self.encode(source, mask, rngs[0])
        positions = jnp.broadcast_to(jnp.arange(previous.shape[1]), previous.shape)
        x = self._embed(self.target_embedding, previous, positions, "target", rngs[1])
        out = self.decoder(x, positions, memory=memory, rng=rngs[2])
        return out.x, self._alignment(out)

    @property
    def output(self) -> OutputLayer:
        """See `SequenceModel`."""
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
        """Embeds tokens, scaled by sqrt(M), with positions: [B, T] -> [B, T, M]."""
        block, dtype = self.config.block, self.config.dtype
        x = embed(table, ids, dtype) * jnp.asarray(block.d_model**0.5, dtype)
        if block.position_embedding == "sinusoidal":
            x = x + position_embeddings.sinusoidal(
                positions, block.d_model, dtype=jnp.dtype(dtype)
            )
        elif block.position_embedding == "learned":
            _check_length(side, ids.shape[1], self.config.max_length)
            learned = (
                self.source_positions if side == "source" else self.target_positions
            )
            x = x + position_embeddings.learned(learned[...].astype(dtype), positions)
        return dropout(rng, x, rate=block.dropout)

    def _alignment(self, out: TransformerOutput) -> Array:
        """Weights of the last block but one, whose mean over heads aligns best.

        EncoderMemory: Garg et al. 2019 (arXiv:1909.02074), section 4.1.
        """
        return out.weights[max(0, self.config.decoder_layers - 2)]


def _check_length(side: str, length: int, most: int) -> None:
    if length > most:
        raise ValueError(
            f"{side}: expected at most {most} tokens, got {length} (max_length is the "
            "number of learned positions)"
        )
