"""End-to-end memory network as a language model: the last words are the memory.

Sukhbaatar, Szlam, Weston & Fergus 2015 (arXiv:1503.08895), section 5. Each of the last
N words is a memory; the query begins as a constant, and hops refine it. Seen from later
work it is attention with a sliding window and relative positions, one head a hop.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Int

from attnjax.core import precision
from attnjax.core.recent import RecentMemory, attend_recent
from attnjax.models._checks import check_positive, check_tokens
from attnjax.models._methods import batched
from attnjax.models._parts import OutputLayer, token_positions

ABSENT = -1  # in place of a word that is not there
FIRST_QUERY = 0.1  # every element of it


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemN2NLMConfig:
    """Sizes of a memory network that predicts words; the defaults are the paper's."""

    vocab_size: int = 10_000
    """Number of token ids; a run sets it to its tokeniser's."""
    embed_dim: int = 150
    """Width of embedded words and queries (the paper's d)."""
    num_hops: int = 6
    """Number of reads of the memory (the paper's K)."""
    memory_size: int = 100
    """Number of words that are remembered, the most recent ones."""
    linear_units: int | None = None
    """Number of units of a query that stay linear after a hop; to the others a ReLU is
    applied. None: half of them."""
    max_length: int = 200
    """Number of tokens processed at once in training and evaluation."""
    init_stddev: float = 0.05
    """Standard deviation of the initial parameters."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class TokenHistory(NamedTuple):
    """The words before the next one."""

    tokens: Int[Array, "B N"]  # the newest last; -1: none yet


class MemN2NLM(nnx.Module):
    """A language model: the probability of every next token.

    Tying is layer-wise: one embedding of words and one table of ages make the keys of
    all hops, others the values, and a matrix maps the query of every hop. The methods
    are those of `GPT`; what is carried from token to token are the last words.
    """

    def __init__(self, config: MemN2NLMConfig, *, rngs: nnx.Rngs) -> None:
        _check(config)
        self.config = config
        V, N, D = config.vocab_size, config.memory_size, config.embed_dim
        draw = jax.nn.initializers.normal(config.init_stddev)

        def table(rows: int) -> nnx.Param:
            return nnx.Param(draw(rngs.params(), (rows, D)))

        self.key_embedding, self.value_embedding = table(V), table(V)  # A, C
        self.age_keys, self.age_values = table(N), table(N)  # T_A, T_C
        self.w_query = table(D)  # H, which multiplies a row from the right
        self.w_output = table(V)  # W

    @batched
    def __call__(
        self, tokens: Array, *, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """Predicts the token after each token of whole texts.

        Args:
          tokens: ids, shape [B, T].
          rng: unused, as there is no dropout.

        Returns:
          Logits of the next token, [B, T, V], and the weights of all hops by age, that
          of the newest word first, [B, K, T, N].

        Raises:
          ValueError: if a known id is outside the vocabulary.
        """
        check_tokens("tokens", tokens, "BT", self.config.vocab_size)
        _, queries, weights = self._continue(self.start(len(tokens)), tokens)
        return self.output.logits(queries), weights

    @batched
    def features(
        self, tokens: Array, *, rng: Array | None = None
    ) -> tuple[Array, None]:
        """Computes what the output layer takes, [B, T, D]; no attention weights.

        The arguments are those of the call. With `output`, a loss is computed without
        all logits in memory at once: `attnjax.linear_cross_entropy`.
        """
        check_tokens("tokens", tokens, "BT", self.config.vocab_size)
        return self._continue(self.start(len(tokens)), tokens)[1], None

    @property
    def output(self) -> OutputLayer:
        """The output matrix [V, D]; there is no bias."""
        return OutputLayer(self.w_output[...].astype(self.config.dtype), None)

    def start(self, batch_size: int) -> TokenHistory:
        """Returns the carry of `batch_size` rows before the first word."""
        empty = (batch_size, self.config.memory_size - 1)
        return TokenHistory(jnp.full(empty, ABSENT, jnp.int32))

    @batched
    def prefill(
        self, carry: TokenHistory, tokens: Array, mask: Array | None = None
    ) -> tuple[TokenHistory, Array]:
        """Processes several tokens at once.

        Args:
          carry: what `start`, `prefill` or `step` returned.
          tokens: ids, shape [B, T], of any length.
          mask: True = a token, False = padding, on either side; shape [B, T]. Logits
            at padding mean nothing.

        Returns:
          The new carry, and the logits of the token after each, [B, T, V].

        Raises:
          ValueError: if a known id is outside the vocabulary.
        """
        check_tokens("tokens", tokens, "BT", self.config.vocab_size, mask)
        T = tokens.shape[1]
        if mask is None:
            after, queries, _ = self._continue(carry, tokens)
            return after, self.output.logits(queries)
        # Padding is moved to the front, where it separates no word from the next.
        words = jnp.concatenate([carry.tokens, jnp.where(mask, tokens, ABSENT)], axis=1)
        order = jnp.argsort(words != ABSENT, axis=1, stable=True)
        words = jnp.take_along_axis(words, order, axis=1)  # [B, N-1+T]
        queries, _ = jax.vmap(self._hops)(words)
        count = jnp.sum(mask, axis=1, keepdims=True, dtype=jnp.int32)
        place = jnp.maximum(T - count + token_positions(mask), 0)  # [B, T]
        queries = jnp.take_along_axis(queries, place[..., None], axis=1)  # [B, T, D]
        return TokenHistory(words[:, T:]), self.output.logits(queries)

    @batched
    def step(
        self, carry: TokenHistory, token: Array
    ) -> tuple[TokenHistory, Array, Array]:
        """Processes one token a row: a step for `attnjax.decode`.

        Args:
          carry: what `start`, `prefill` or the last step returned.
          token: ids, shape [B].

        Returns:
          The new carry, logits [B, V], and the weights [B, N] of the last hop by age.
        """
        check_tokens("token", token, "B", self.config.vocab_size)
        after, queries, weights = self._continue(carry, token[:, None])  # [B, 1]
        # [B, 1, D] -> [B, D]; [B, K, 1, N] -> [B, N]
        return after, self.output.logits(queries[:, 0]), weights[:, -1, 0]

    def _continue(
        self, carry: TokenHistory, tokens: Array
    ) -> tuple[TokenHistory, Array, Array]:
        """The carry after tokens [B, T], queries [B, T, D], weights [B, K, T, N]."""
        words = jnp.concatenate([carry.tokens, tokens.astype(jnp.int32)], axis=1)
        queries, weights = jax.vmap(self._hops)(words)
        return TokenHistory(words[:, tokens.shape[1] :]), queries, weights

    def _hops(self, words: Array) -> tuple[Array, Array]:
        """Predicts after the last words of one row: [N-1+T] -> [T, D], [K, T, N]."""
        config = self.config
        memory = self._embed(words)
        T = len(words) - config.memory_size + 1
        query = jnp.full((T, config.embed_dim), FIRST_QUERY, memory.keys.dtype)
        matrix, every = self.w_query[...].astype(query.dtype), []
        for _ in range(config.num_hops):
            read = attend_recent(query, memory)
            query = self._activate(precision.matmul(query, matrix) + read.context)
            every.append(read.weights)
        return query, jnp.stack(every)  # K x [T, N] -> [K, T, N]

    def _embed(self, words: Array) -> RecentMemory:
        """The memory of ids [N-1+T], some of which may be absent."""

        def cast(table: nnx.Param) -> Array:
            return table[...].astype(self.config.dtype)

        there = jnp.maximum(words, 0)
        return RecentMemory(
            cast(self.key_embedding)[there],
            cast(self.value_embedding)[there],
            words != ABSENT,
            cast(self.age_keys),
            cast(self.age_values),
        )

    def _activate(self, query: Array) -> Array:
        """Applies a ReLU to all units [..., D] but the first, linear ones."""
        D, linear = self.config.embed_dim, self.config.linear_units
        linear = D // 2 if linear is None else linear
        return jnp.where(jnp.arange(D) < linear, query, jax.nn.relu(query))


def _check(config: MemN2NLMConfig) -> None:
    check_positive(
        config, "vocab_size", "embed_dim", "num_hops", "memory_size", "max_length"
    )
    linear = config.linear_units
    if linear is not None and not 0 <= linear <= config.embed_dim:
        raise ValueError(
            f"linear_units: expected 0 to {config.embed_dim}, got {linear} (embed_dim "
            "is the number of units)"
        )
