"""GPT: a decoder-only Transformer.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2):
pre-norm blocks, learned positions, one table for input and output. With RoPE, RMSNorm,
SwiGLU and grouped-query attention it is the family of Touvron et al. 2023 (LLaMA,
arXiv:2302.13971).
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core import positions as places
from attnjax.core.dropout import dropout
from attnjax.models._block_config import BlockConfig
from attnjax.models._methods import batched
from attnjax.models._parts import OutputLayer, embed, split_rng, token_positions
from attnjax.models._stacks import Stack
from attnjax.transformer.attention import MATERIALISED, Attention
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
    """Number of token ids; a run sets it to its tokeniser's."""
    num_layers: int = 12
    """Number of blocks."""
    max_length: int = 1024
    """Context length: the most tokens processed at once."""
    block: BlockConfig = GPT2_BLOCK
    """Settings of every block."""
    tie_output: bool = True
    """Whether the output matrix is the embedding table."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class GPT(nnx.Module):
    """A language model: the probability of every next token.

    Calling it processes whole texts; `start`, `prefill` and `step` process them in
    pieces of any size through a KV cache, and give the same numbers.
    """

    def __init__(
        self, config: GPTConfig, *, rngs: nnx.Rngs, attention: Attention = MATERIALISED
    ) -> None:
        self.config = config
        M, L = config.block.d_model, config.num_layers
        normal = jax.nn.initializers.normal(0.02)
        # Keeps the variance of the residual stream over 2 L sublayers (section 2.3).
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
            draw=normal,
            draw_output=output,
            attention=attention,
            rngs=rngs,
        )
        if not config.tie_output:
            self.w_output = nnx.Param(normal(rngs.params(), (config.vocab_size, M)))

    @batched
    def __call__(
        self,
        tokens: Array,
        *,
        positions: Array | None = None,
        segments: Array | None = None,
        rng: Array | None = None,
    ) -> tuple[Array, Array]:
        """Predicts the token after each token of whole texts.

        Args:
          tokens: ids, shape [B, T].
          positions: position of each token, -1 for padding, shape [B, T]; None counts
            along the array.
          segments: which of several packed texts a token belongs to, shape [B, T]; no
            token attends to another text. Restart the positions in each.
          rng: random key for dropout; None means none.

        Returns:
          Logits of the next token, [B, T, V], and the attention weights [B, T, T] of
          the last block.

        Raises:
          ValueError: if there are more tokens than the context length; where
            `positions` are given, if a known one is beyond a learned table.
        """
        last = self.config.num_layers - 1
        out = self._run(tokens, positions, segments, rng, weights_of=(last,))
        return self.output.logits(out.x), out.weights[0]

    @batched
    def features(
        self,
        tokens: Array,
        *,
        positions: Array | None = None,
        segments: Array | None = None,
        rng: Array | None = None,
    ) -> tuple[Array, None]:
        """Computes what the output layer takes, [B, T, M]; no attention weights.

        The arguments are those of the call. With `output`, a loss is computed without
        all logits in memory at once: `attnjax.linear_cross_entropy`.
        """
        return self._run(tokens, positions, segments, rng, weights_of=()).x, None

    @property
    def output(self) -> OutputLayer:
        """The output matrix [V, M]; there is no bias."""
        table = self.embedding if self.config.tie_output else self.w_output
        return OutputLayer(table[...].astype(self.config.dtype), None)

    def start(self, batch_size: int, capacity: int | None = None) -> KVCache:
        """Allocates an empty KV cache.

        Args:
          batch_size: B.
          capacity: number of slots, one a token; None means the context length. With
            a sliding window, as many as the window and the tokens of one `prefill`
            suffice for texts of any length.
        """
        capacity = capacity or self.config.max_length
        return self.decoder.init_cache(
            batch_size, capacity, jnp.dtype(self.config.dtype)
        )

    @batched
    def prefill(
        self, cache: KVCache, tokens: Array, mask: Array | None = None
    ) -> tuple[KVCache, Array]:
        """Processes several tokens at once through the cache.

        Args:
          cache: what `start`, `prefill` or `step` returned; it need not be empty.
          tokens: ids, shape [B, T].
          mask: True = a token, False = padding, on either side; shape [B, T]. Logits
            at padding mean nothing.

        Returns:
          The new cache, and the logits of the token after each, [B, T, V].

        Raises:
          ValueError: if the cache has too few slots for so many tokens at once.
        """
        if mask is None:
            mask = jnp.ones(tokens.shape, bool)
        # [B] -> [B, 1]
        positions = token_positions(mask, cache.lengths[:, None])
        out = self._continue(cache, tokens, positions)
        return out.cache, self.output.logits(out.x)

    @batched
    def step(self, carry: KVCache, token: Array) -> tuple[KVCache, Array, Array]:
        """Processes one token a row: a step for `attnjax.decode`.

        Args:
          carry: what `start`, `prefill` or the last step returned.
          token: ids, shape [B].

        Returns:
          The new carry, logits [B, V] and the attention weights [B, S] of the last
          block, by slot of the cache.
        """
        last = self.config.num_layers - 1
        out = self._continue(
            carry, token[:, None], carry.lengths[:, None], weights_of=(last,)
        )
        # [B, 1, M] -> [B, M]; [1, B, 1, S] -> [B, S]
        return out.cache, self.output.logits(out.x[:, 0]), out.weights[0, :, 0]

    def _run(
        self,
        tokens: Array,
        positions: Array | None,
        segments: Array | None,
        rng: Array | None,
        *,
        weights_of: tuple[int, ...],
    ) -> TransformerOutput:
        """Applies the blocks to whole texts."""
        if positions is None:
            self._check_length(tokens.shape[1])
            positions = jnp.broadcast_to(
                jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape
            )
        rngs = split_rng(rng, 2)
        x = self._embed(tokens, positions, rngs[0])
        return self.decoder(
            x, positions, segments=segments, rng=rngs[1], weights_of=weights_of
        )

    def _continue(
        self,
        cache: KVCache,
        tokens: Array,
        positions: Array,
        weights_of: tuple[int, ...] = (),
    ) -> TransformerOutput:
        """Applies the blocks to new tokens, with a cache of those before."""
        x = self._embed(tokens, positions, None)
        return self.decoder(x, positions, cache=cache, weights_of=weights_of)

    def _embed(self, tokens: Array, positions: Array, rng: Array | None) -> Array:
        block, dtype = self.config.block, self.config.dtype
        x = embed(self.embedding, tokens, dtype)
        if block.position_embedding == "learned":
            x = x + places.learned(self.positions[...].astype(dtype), positions)
        elif block.position_embedding == "sinusoidal":
            x = x + places.sinusoidal(positions, block.d_model, dtype=jnp.dtype(dtype))
        return dropout(rng, x, rate=block.dropout)

    def _check_length(self, length: int) -> None:
        if length > self.config.max_length:
            raise ValueError(
                f"tokens: expected at most {self.config.max_length}, got {length} "
                "(cut the text, or raise max_length)"
            )
