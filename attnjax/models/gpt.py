"""GPT: the decoder alone, which reads nothing but what it has written.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2):
pre-norm blocks, learned positions, one table for input and output. With rotary
positions, RMSNorm, SwiGLU and shared key heads it is the family of Touvron et
al. 2023 (LLaMA, arXiv:2302.13971).
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core import masks
from attnjax.core import positions as places
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
    """Number of ids; a run sets it to its tokeniser's."""
    num_layers: int = 12
    """Blocks."""
    max_length: int = 1024
    """Most tokens seen at once."""
    block: BlockConfig = GPT2_BLOCK
    """What every block is."""
    tie_output: bool = True
    """Let the output matrix be the embedding."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of computation; parameters are float32."""


class GPT(nnx.Module):
    """A language model: the probability of every next token.

    Calling it reads known texts at once; `start`, `extend` and `step` read and write
    with a cache, in pieces of any size, and give the same numbers.
    """

    def __init__(self, config: GPTConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        M, L = config.block.d_model, config.num_layers
        normal = jax.nn.initializers.normal(0.02)
        # The sum of 2 L sublayers keeps its variance (the paper, section 2.3).
        output = jax.nn.initializers.normal(0.02 * (2 * L) ** -0.5)
        self.embedding = nnx.Param(normal(rngs.params(), (config.vocab_size, M)))
        if config.block.position_embedding == "learned":
            table = normal(rngs.params(), (config.max_length, M))
            self.positions = nnx.Param(table)
        self.decoder = Stack(
            config.block,
            layers=L,
            causal=True,
            reading=None,
            draw=normal,
            draw_output=output,
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
        """Reads texts.

        Args:
          tokens: ids, shape [B, T].
          positions: where each token stands, -1 for padding, shape [B, T]; None: the
            order of the array.
          segments: which of several texts in a row a token belongs to, shape
            [B, T]; no token sees another text. Give positions that begin again.
          rng: random key for dropout; None means none.

        Returns:
          Logits of the token after each, [B, T, V], and weights [B, T, T] of the last
          block.

        Raises:
          ValueError: if there are more tokens than the context holds.
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
        """A cache that has seen nothing.

        Args:
          batch_size: B.
          size: its slots, one a token; the context by default. With a window, as many
            as the window and the tokens of one `extend` are enough for any text.
        """
        return self.decoder.empty(
            batch_size, size or self.config.max_length, jnp.dtype(self.config.dtype)
        )

    def extend(
        self, cache: KVCache, tokens: Array, mask: Array | None = None
    ) -> tuple[KVCache, Array]:
        """Reads more of the texts that a cache has begun.

        Args:
          cache: what `start`, `extend` or `step` returned.
          tokens: ids, shape [B, T].
          mask: True = a token, False = padding after the row's last; shape [B, T].

        Returns:
          The new cache, and the logits of the token after each, [B, T, V].

        Raises:
          ValueError: if the cache cannot take in so many at once.
        """
        if mask is None:
            mask = jnp.ones(tokens.shape, bool)
        after = cache.lengths[:, None] + jnp.arange(tokens.shape[1])
        out = self._read(cache, tokens, jnp.where(mask, after, -1))
        return out.cache, self.output.logits(out.x)

    def step(self, carry: KVCache, token: Array) -> tuple[KVCache, Array, Array]:
        """Reads one token a row: a step for `attnjax.decode`.

        Args:
          carry: what `start`, `extend` or the last step returned.
          token: ids, shape [B].

        Returns:
          The new carry, logits [B, V] and the weights [B, S] of the last block, by
          slot of the cache.
        """
        out = self._read(carry, token[:, None], carry.lengths[:, None])
        return out.cache, self.output.logits(out.x[:, 0]), out.weights[-1, :, 0]

    def _read(
        self, cache: KVCache, tokens: Array, positions: Array
    ) -> TransformerOutput:
        x = self._embed(tokens, positions, None)
        return self.decoder(x, positions, cache=cache)

    def _embed(self, tokens: Array, positions: Array, rng: Array | None) -> Array:
        block, dtype = self.config.block, self.config.dtype
        x = embed(self.embedding, tokens, dtype)
        if block.position_embedding == "learned":
            x = x + places.learned(self.positions[...].astype(dtype), positions)
        elif block.position_embedding == "sinusoidal":
            x = x + places.sinusoidal(positions, block.d_model, dtype=jnp.dtype(dtype))
        return dropout(rng, x, rate=block.dropout)

    def _check_length(self, tokens: Array) -> None:
        if tokens.shape[1] > self.config.max_length:
            raise ValueError(
                f"tokens: expected at most {self.config.max_length}, got "
                f"{tokens.shape[1]} (the context; cut the text, or raise it)"
            )
