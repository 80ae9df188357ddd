"""GPT: a decoder-only Transformer.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2):
pre-norm blocks, learned positions, one table for input and output. With RoPE,
RMSNorm, SwiGLU and grouped-query attention it is the family of Touvron et
al. 2023 (LLaMA, arXiv:2302.13971).
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core import masks
from attnjax.core import positions as position_embeddings
from attnjax.core.dropout import dropout
from attnjax.models._block_config import BlockConfig
from attnjax.models._parts import OutputLayer, embed, split_rng
from attnjax.models._stacks import Stack
from attnjax.transformer.cache import KVCache
from attnjax.transformer.stack import TransformerOutput

GPT2_BLOCK = BlockConfig(
    d_model=768,
    num_heads=12,
    d_ff=3072,
    activation="gelu-tanh",
    pre_norm=True,
    position_embedding="learned",
)
LLAMA_BLOCK = BlockConfig(
    d_model=768,
    num_heads=12,
    num_kv_heads=4,
    d_ff=2048,
    activation="swiglu",
    norm="rms",
    pre_norm=True,
    use_bias=False,
    position_embedding="rope",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Sizes of a GPT; the defaults are the smallest GPT-2: 124,439,808 parameters."""

    vocab_size: int = 50_257
    """Size of the vocabulary; a run sets it from its tokeniser."""
    num_layers: int = 12
    """Number of blocks."""
    max_length: int = 1024
    """Maximum number of tokens of a sequence."""
    block: BlockConfig = GPT2_BLOCK
    """Settings of every block."""
    tie_output: bool = True
    """Whether the output layer uses the embedding table."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute dtype; parameters are float32."""


class GPT(nnx.Module):
    """A language model: logits of every next token.

    The call processes whole texts; `start`, `prefill` and `step` process them with a KV
    cache, in pieces of any size, with the same result.
    """

    def __init__(self, config: GPTConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        M, L = config.block.d_model, config.num_layers
        normal = jax.nn.initializers.normal(0.02)
        # The residual sum of 2 L sublayers keeps its variance (the paper, section 2.3).
        output = jax.nn.initializers.normal(0.02 * (2 * L) ** -0.5)
        self.embedding = nnx.Param(normal(rngs.params(), (config.vocab_size, M)))
        if config.block.position_embedding == "learned":
            table = normal(rngs.params(), (config.max_length, M))
            self.positions = nnx.Param(table)
        self.decoder = Stack(
            config.block,
            num_layers=L,
            causal=True,
            cross_attention_score=None,
            initializer=normal,
            init_output=output,
            rngs=rngs,
        )
        if not config.tie_output:
            self.w_output = nnx.Param(normal(rngs.params(), (config.vocab_size, M)))

    def __call__(
        self,
        tokens: Array,
        *,
        positions: Array | None = None,
        segments: Array | None = None,
        rng: Array | None = None,
    ) -> tuple[Array, Array]:
        """Computes the logits of the next token at every position.

        Args:
          tokens: ids, shape [B, T].
          positions: position of each token, -1 for padding, shape [B, T]; None: the
            array index.
          segments: which of several packed texts a token belongs to, shape [B, T]; no
            token attends to another text. Give positions that restart with each text.
          rng: random key for dropout; None means none.

        Returns:
          Logits of the token after each, [B, T, V], and weights [B, T, T] of the last
          block.

        Raises:
          ValueError: if there are more than `max_length` tokens.
        """
        units, weights = self.features(
            tokens, positions=positions, segments=segments, rng=rng
        )
        return self.output.logits(units), weights

    def features(
        self,
        tokens: Array,
        *,
        positions: Array | None = None,
        segments: Array | None = None,
        rng: Array | None = None,
    ) -> tuple[Array, Array]:
        """What the logits of a call are computed from, [B, T, M], and its weights.

        The arguments are those of the call. With `output` a loss can be taken without
        all logits at once: `attnjax.linear_cross_entropy`.
        """
        self._check_length(tokens)
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        mask = None if segments is None else masks.segments(segments, segments)
        rngs = split_rng(rng, 2)
        x = self._embed(tokens, positions, rngs[0])
        out = self.decoder(x, positions, mask=mask, rng=rngs[1])
        return out.x, out.weights[-1]

    @property
    def output(self) -> OutputLayer:
        """The output matrix [V, M]; there is no bias."""
        table = self.embedding if self.config.tie_output else self.w_output
        return OutputLayer(table[...].astype(self.config.dtype), None)

    def start(self, batch_size: int, size: int | None = None) -> KVCache:
        """Makes an empty KV cache.

        Args:
          batch_size: B.
          size: number of slots, one per token; `max_length` by default. With a sliding
            window, its size plus the tokens of one `prefill` suffice for any text.
        """
        return self.decoder.empty(
            batch_size, size or self.config.max_length, jnp.dtype(self.config.dtype)
        )

    def prefill(
        self, cache: KVCache, tokens: Array, mask: Array | None = None
    ) -> tuple[KVCache, Array]:
        """Processes several tokens per row at once, after those in the cache.

        Args:
          cache: what `start`, `prefill` or `step` returned.
          tokens: ids, shape [B, T].
          mask: True = a token, False = padding after the row's last; shape [B, T].

        Returns:
          The new cache, and the logits of the token after each, [B, T, V].

        Raises:
          ValueError: if the cache has no capacity for so many tokens at once.
        """
        if mask is None:
            mask = jnp.ones(tokens.shape, bool)
        after = cache.lengths[:, None] + jnp.arange(tokens.shape[1])
        out = self._forward(cache, tokens, jnp.where(mask, after, -1))
        return out.cache, self.output.logits(out.x)

    def step(self, carry: KVCache, token: Array) -> tuple[KVCache, Array, Array]:
        """Processes one token per row: a step for `attnjax.decode`.

        Args:
          carry: what `start`, `prefill` or the last step returned.
          token: ids, shape [B].

        Returns:
          The new carry, logits [B, V] and the weights [B, S] of the last block, by
          slot of the cache.
        """
        out = self._forward(carry, token[:, None], carry.lengths[:, None])
        return out.cache, self.output.logits(out.x[:, 0]), out.weights[-1, :, 0]

    def _forward(
        self, cache: KVCache, tokens: Array, positions: Array
    ) -> TransformerOutput:
        x = self._embed(tokens, positions, None)
        return self.decoder(x, positions, cache=cache)

    def _embed(self, tokens: Array, positions: Array, rng: Array | None) -> Array:
        block, dtype = self.config.block, self.config.dtype
        x = embed(self.embedding, tokens, dtype)
        if block.position_embedding == "learned":
            x = x + position_embeddings.learned(
                self.positions[...].astype(dtype), positions
            )
        elif block.position_embedding == "sinusoidal":
            x = x + position_embeddings.sinusoidal(
                positions, block.d_model, dtype=jnp.dtype(dtype)
            )
        return dropout(rng, x, rate=block.dropout)

    def _check_length(self, tokens: Array) -> None:
        if tokens.shape[1] > self.config.max_length:
            raise ValueError(
                f"tokens: expected at most {self.config.max_length}, got "
                f"{tokens.shape[1]} (max_length; cut the text, or raise it)"
            )
