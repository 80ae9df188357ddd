"""End-to-end memory network: answers a question by reading a story in several hops.

Sukhbaatar, Szlam, Weston & Fergus 2015 (arXiv:1503.08895). Each fact of the story is a
memory; a hop attends to all of them softly, so the answer alone is supervision enough.
The hard memory network that it was made from, trained on supporting facts, is
`attnjax.models.memory_network`: the same hop with another weighting.
"""

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.hop import HopParams, hop
from attnjax.core import precision
from attnjax.core.attend import Memory, Weighting
from attnjax.core.sentences import (
    NULL,
    fact_ages,
    over_filled,
    sum_words,
    with_empty_slots,
)
from attnjax.core.weights import masked_softmax, softmax_with_sink
from attnjax.models._checks import check_choices, check_positive
from attnjax.models._methods import batched
from attnjax.models._stories import check_stories


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemN2NConfig:
    """Sizes of an end-to-end memory network; the defaults are the paper's, for bAbI."""

    vocab_size: int = 200
    """Number of word ids, the null word and whole answers included; a run takes it from
    its vocabulary."""
    embed_dim: int = 20
    """Width of embedded facts and questions (the paper's d)."""
    num_hops: int = 3
    """Number of reads of the memory (the paper's K)."""
    memory_size: int = 50
    """Number of facts that are kept, the most recent ones."""
    tying: Literal["adjacent", "layer-wise"] = "adjacent"
    """Which embeddings are one: those of neighbouring hops, or those of all hops."""
    position_encoding: bool = True
    """Whether the order of words counts; otherwise a sentence is a bag of words."""
    sentence_length: int | None = None
    """Length of sentences for the position encoding (J), the longest in the authors'
    code, to which a run sets it; None takes each sentence's own."""
    temporal_encoding: bool = True
    """Whether a learned vector says how long ago a fact was."""
    sink: bool = False
    """Whether the empty slots of the memory take weight together, each with score 0, as
    in the authors' code; what they hold is 0."""
    empty_slots: float = 0.1
    """Largest share of empty slots that training scatters among the facts (the paper's
    random noise); 0 adds none."""
    init_stddev: float = 0.1
    """Standard deviation of the initial parameters."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class MemN2N(nnx.Module):
    """Embeds a story once for each matrix, then hops.

    With adjacent tying there are K + 1 embeddings E_0 .. E_K: hop k has keys by E_{k-1}
    and values by E_k, the question is embedded by E_0, and E_K is the output matrix.
    With layer-wise tying keys of all hops are by one embedding and values by another,
    the question and the output have their own, and a matrix H maps the query of every
    hop. Each embedding has a table of its own for words and one for ages of facts.
    """

    def __init__(self, config: MemN2NConfig, *, rngs: nnx.Rngs) -> None:
        _check(config)
        self.config = config
        V, D, adjacent = config.vocab_size, config.embed_dim, self._adjacent
        draw = jax.nn.initializers.normal(config.init_stddev)
        count = config.num_hops + 1 if adjacent else 2

        def tables(rows: int, number: int) -> list[nnx.Param]:
            return [nnx.Param(draw(rngs.params(), (rows, D))) for _ in range(number)]

        self.embeddings = nnx.data(tables(V, count))
        if config.temporal_encoding:
            self.temporal = nnx.data(tables(config.memory_size, count))
        if not adjacent:
            (self.question_embedding, self.w_output) = tables(V, 2)
            self.w_query = nnx.Param(draw(rngs.params(), (D, D)))

    @batched
    def __call__(
        self,
        facts: Array,
        question: Array,
        *,
        rng: Array | None = None,
        weighting: Weighting | None = None,
    ) -> tuple[Array, Array]:
        """Answers questions.

        Args:
          facts: word ids of the facts of each story, in its order; 0 pads sentences,
            and an empty sentence is no fact. Shape [B, S, T], at most `memory_size`
            facts a story: keep the most recent.
          question: word ids, shape [B, T'].
          rng: random key for empty slots, in training; None adds none.
          weighting: of every hop; None is the softmax, with its sink if there is one.
            `unnormalised` in the linear start.

        Returns:
          Logits of the answers [B, V], in at least float32, and the weights of all hops
          [B, K, S], 0 where there is no fact.

        Raises:
          ValueError: if a shape is another, there are more than `memory_size` facts,
            or a known id is outside the vocabulary.
          TypeError: if ids are no integers.
        """
        check_stories(facts, question, self.config)
        mask = jnp.any(facts != NULL, axis=-1)
        memories = self._embed_facts(facts, mask, rng)
        query = self._embed(self._question_table, question)
        weighting = self.weighting if weighting is None else weighting
        step = jax.vmap(partial(hop, self._hop_params, weighting=weighting))
        every = []
        for k in range(self.config.num_hops):
            keys, values = (memories[i] for i in self._used_by(k))
            query, read = step(query, memory=Memory(keys, values, mask))
            every.append(read.weights)
        table = self.embeddings[-1] if self._adjacent else self.w_output
        matrix = self._without_null(table).T  # [V, D] -> [D, V]
        logits = precision.matmul(query, matrix, upcast_result=True)
        return logits, jnp.stack(every, axis=1)  # K x [B, S] -> [B, K, S]

    def weighting(self, scores: Array, mask: Array | None = None) -> Array:
        """The softmax of every hop, for one query: scores [S], mask [S]."""
        if not self.config.sink:
            return masked_softmax(scores, mask)
        mask = jnp.ones(scores.shape, bool) if mask is None else mask
        empty = self.config.memory_size - jnp.sum(mask, dtype=jnp.float32)
        # Each empty slot has score 0: together, log of their number. Of none, -inf.
        return softmax_with_sink(scores, mask, sink=jnp.log(empty))

    @property
    def _adjacent(self) -> bool:
        return self.config.tying == "adjacent"

    @property
    def _question_table(self) -> nnx.Param:
        return self.embeddings[0] if self._adjacent else self.question_embedding

    @property
    def _hop_params(self) -> HopParams:
        if self._adjacent:
            return HopParams()
        return HopParams(self.w_query[...].astype(self.config.dtype))

    def _used_by(self, k: int) -> tuple[int, int]:
        """Which embeddings make the keys and the values of a hop."""
        return (k, k + 1) if self._adjacent else (0, 1)

    def _without_null(self, table: nnx.Param) -> Array:
        """The table in the dtype of computation; the null word is 0 and stays so."""
        rows = table[...].astype(self.config.dtype)
        is_word = jnp.arange(rows.shape[0]) != NULL
        return jnp.where(is_word[:, None], rows, 0)

    def _embed(self, table: nnx.Param, sentences: Array) -> Array:
        """Sums the words of sentences: [..., T] -> [..., D]."""
        rows = table[...].astype(self.config.dtype)
        return sum_words(
            rows,
            sentences,
            encode_order=self.config.position_encoding,
            length=self.config.sentence_length,
        )

    def _embed_facts(self, facts: Array, mask: Array, rng: Array | None) -> list[Array]:
        """Embeds the stories [B, S, T] by every embedding: a list of [B, S, D]."""
        B, S, T = facts.shape
        ages = self._ages(mask, rng)

        def embed(sentences: Array, ages: Array) -> list[Array]:
            found = [self._embed(table, sentences) for table in self.embeddings]
            if self.config.temporal_encoding:
                found = [
                    x + table[...][ages].astype(x.dtype)
                    for x, table in zip(found, self.temporal, strict=True)
                ]
            return found

        rows = facts.reshape(B * S, T)  # [B, S, T] -> [B*S, T]
        # [B, S] -> [B*S]
        found = over_filled(embed, mask.reshape(-1), rows, ages.reshape(-1))
        return [x.reshape(B, S, x.shape[-1]) for x in found]  # [B*S, D] -> [B, S, D]

    def _ages(self, mask: Array, rng: Array | None) -> Array:
        """Ages of the facts [B, S], within the table of ages."""
        ages = fact_ages(mask)
        if rng is not None and self.config.empty_slots:
            shift = partial(with_empty_slots, rate=self.config.empty_slots)
            ages = jax.vmap(shift)(jax.random.split(rng, mask.shape[0]), ages)
        return jnp.clip(ages, 0, self.config.memory_size - 1)


def _check(config: MemN2NConfig) -> None:
    check_positive(config, "vocab_size", "embed_dim", "num_hops", "memory_size")
    check_choices(config, "tying")
    if config.sentence_length is not None:
        check_positive(config, "sentence_length")
    if not 0 <= config.empty_slots < 1:
        raise ValueError(
            f"empty_slots: expected a share in [0, 1), got {config.empty_slots} (the "
            "paper uses 0.1)"
        )
