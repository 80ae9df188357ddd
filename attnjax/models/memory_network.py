"""Memory network: answers a question by choosing supporting facts, one after another.

Weston, Chopra & Bordes 2014 (arXiv:1410.3916), section 3. Of its four parts, I and G
embed a fact and write it into the next slot; O chooses k memories, each by one hop with
a hard weighting; R answers with the word that ranks first. It is trained on the
supporting facts themselves, by margins. The soft form that needs no such supervision is
`attnjax.models.memn2n`.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from attnjax.cells.hop import HopParams, hop
from attnjax.core import context as contexts
from attnjax.core import precision, scores
from attnjax.core.attend import Memory, Weighting
from attnjax.core.ranking import (
    margin_ranking,
    sequential_hardmax,
    time_preferences,
)
from attnjax.core.sentences import NULL, over_filled, sum_words
from attnjax.core.weights import hardmax
from attnjax.models._checks import check_positive
from attnjax.models._methods import batched
from attnjax.models._parts import Params
from attnjax.models._stories import (
    check_answer,
    check_stories,
    check_supports,
    names_a_fact,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryNetworkConfig:
    """Sizes of a memory network; the defaults are the paper's, for its own world."""

    vocab_size: int = 200
    """Number of word ids, the null word and whole answers included; a run takes it from
    its vocabulary."""
    embed_dim: int = 100
    """Width of embedded facts and questions (the paper's n)."""
    num_hops: int = 2
    """Number of supporting facts to choose (the paper's k)."""
    memory_size: int = 250
    """Number of facts that are kept, the most recent ones."""
    write_time: bool = True
    """Whether memories are compared by the time when they were written, too."""
    margin: float = 0.1
    """By how much the right memory and the right word must win (the paper's gamma)."""
    init_stddev: float = 0.1
    """Standard deviation of the initial parameters."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class WordFeatures(NamedTuple):
    """The three embeddings of a word: D = 3 |W| features times U, one block each."""

    question: Float[Array, "V D"]  # as a word of the question
    found: Float[Array, "V D"]  # as one of a supporting fact already found
    candidate: Float[Array, "V D"]  # as one of a memory, or as the answer


class Hops(NamedTuple):
    """What the hops of one question saw, K of them."""

    queries: Float[Array, "K D"]
    times: Array  # [K], when each query was written
    scores: Float[Array, "K S"]
    weights: Float[Array, "K S"]


class MemoryNetwork(nnx.Module):
    """Chooses facts by s_O and answers by s_R, each with a matrix U of its own."""

    def __init__(self, config: MemoryNetworkConfig, *, rngs: nnx.Rngs) -> None:
        _check(config)
        self.config = config
        draw = jax.nn.initializers.normal(config.init_stddev)

        def features() -> WordFeatures:
            shape = config.vocab_size, config.embed_dim
            return WordFeatures(*(draw(rngs.params(), shape) for _ in range(3)))

        self.select = Params(features())  # U_O
        self.respond = Params(features())  # U_R
        if config.write_time:
            # The three columns of U_O for Phi_t.
            self.time = nnx.Param(draw(rngs.params(), (3, config.embed_dim)))

    @batched
    def __call__(
        self, facts: Array, question: Array, *, supports: Array | None = None
    ) -> tuple[Array, Array]:
        """Answers questions.

        Args:
          facts: word ids of the facts of each story, in its order; 0 pads sentences,
            and an empty sentence is no fact. Shape [B, S, T].
          question: word ids, shape [B, T'].
          supports: indices of the facts to find, shape [B, K]; None lets the model
            choose, each hop given what the last one chose.

        Returns:
          Scores of the answers [B, V], in at least float32, and the weights of all hops
          [B, K, S], 1 on the fact chosen.

        Raises:
          ValueError: if a shape is another, there are more than `memory_size` facts, a
            known id is outside the vocabulary, or a known support is no fact.
          TypeError: if ids are no integers.
        """
        check_stories(facts, question, self.config)
        if supports is not None:
            supports = jnp.asarray(supports)
            check_supports(supports, facts, self.config.num_hops)
        hops = self._run(facts, question, supports)
        return self._respond(facts, question, hops.weights), hops.weights

    @batched
    def losses(
        self, facts: Array, question: Array, supports: Array, answer: Array
    ) -> Array:
        r"""Computes the ranking loss of each question.

        .. math:: \sum_k \sum_{\bar f \ne m_{o_k}}
            \max(0, \gamma - s_O(x_k, m_{o_k}) + s_O(x_k, \bar f))
            + \sum_{\bar r \ne r} \max(0, \gamma - s_R(\cdot, r) + s_R(\cdot, \bar r))

        With write times, two facts are compared in the order in which the weighting
        compares them, the older one first. A hop is trained on the true facts before
        it, and is given the facts that the model chose when it answers, as published.
        The paper draws one wrong candidate for each right one; this is the sum.

        Source: Weston, Chopra & Bordes 2014 (arXiv:1410.3916), eqs. 6 to 8.

        Args:
          facts: as of the call.
          question: as of the call.
          supports: indices of the true facts, in the order in which to find them, shape
            [B, K]; a negative one adds no loss to its hop.
          answer: ids of words, shape [B].

        Returns:
          Shape [B], in at least float32; NaN where the supports or the answer are
          wrong and were not known yet.

        Raises:
          ValueError: if a shape is another, a known id is outside the vocabulary, or a
            known support is no fact.
          TypeError: if ids are no integers.
        """
        check_stories(facts, question, self.config)
        supports, answer = jnp.asarray(supports), jnp.asarray(answer)
        check_supports(supports, facts, self.config.num_hops)
        check_answer(answer, len(facts), self.config.vocab_size)
        hops = self._run(facts, question, supports)
        chosen = jax.vmap(self._selection_loss)
        mask = jnp.any(facts != NULL, axis=-1)
        found = chosen(hops, mask, supports)
        ranks = self._respond(facts, question, hops.weights)
        words = jnp.arange(ranks.shape[-1], dtype=answer.dtype)
        right = jnp.take_along_axis(ranks, answer[:, None], axis=-1)  # [B] -> [B, 1]
        wrong = (words != NULL) & (words != answer[:, None])  # [B] -> [B, V]
        margins = margin_ranking(
            jnp.broadcast_to(right, ranks.shape), ranks, margin=self.config.margin
        )
        total = found + jnp.sum(jnp.where(wrong, margins, 0), axis=-1)
        is_word = (answer > NULL) & (answer < ranks.shape[-1])
        told = is_word & jnp.all(names_a_fact(supports, facts), axis=-1)
        return jnp.where(told, total, jnp.nan)

    def _run(self, facts: Array, question: Array, supports: Array | None) -> Hops:
        """Runs the hops, through the true facts if they are given."""
        table = self.select(self.config.dtype)
        keys, values = self._embed_facts((table.candidate, table.found), facts)
        query = sum_words(table.question, question, encode_order=False)
        mask = jnp.any(facts != NULL, axis=-1)
        return jax.vmap(self._hops)(query, Memory(keys, values, mask), supports)

    def _hops(self, query: Array, memory: Memory, supports: Array | None) -> Hops:
        """Runs the hops of one question."""
        S = memory.mask.shape[0]
        time = jnp.asarray(S, jnp.int32)  # a question is newer than every memory
        every = []
        for k in range(self.config.num_hops):
            weighting = self._weighting(query, time)
            if supports is not None:
                weighting = _choose(supports[k])
            matched = scores.dot(query, memory.keys)
            after, read = hop(HopParams(), query, memory=memory, weighting=weighting)
            every.append(Hops(query, time, matched, read.weights))
            found = jnp.argmax(read.weights).astype(jnp.int32) if S else time
            query, time = after, found
        return jax.tree.map(lambda *x: jnp.stack(x), *every)

    def _weighting(self, query: Array, time: Array) -> Weighting:
        if not self.config.write_time:
            return hardmax
        return partial(
            sequential_hardmax, time_scores=self._time_scores(query), query_time=time
        )

    def _time_scores(self, query: Array) -> Array:
        """How well each feature of time matches the query, [3]."""
        return precision.matmul(self.time[...].astype(query.dtype), query)

    def _respond(self, facts: Array, question: Array, weights: Array) -> Array:
        """Scores s_R of every word, [B, V]; the lowest for the null word."""
        table = self.respond(self.config.dtype)
        (values,) = self._embed_facts((table.found,), facts)
        found = jax.vmap(jax.vmap(contexts.read, (0, None)))(weights, values)
        query = sum_words(table.question, question, encode_order=False)
        query = query + jnp.sum(found, axis=1)  # [B, K, D] -> [B, D]
        ranks = precision.matmul(query, table.candidate.T, upcast_result=True)
        is_word = jnp.arange(ranks.shape[-1]) != NULL
        return jnp.where(is_word, ranks, jnp.finfo(ranks.dtype).min)

    def _embed_facts(self, tables: tuple[Array, ...], facts: Array) -> list[Array]:
        """Embeds the stories [B, S, T] by every table: a list of [B, S, D]."""
        B, S, T = facts.shape
        rows = facts.reshape(B * S, T)  # [B, S, T] -> [B*S, T]

        def embed(some: Array) -> list[Array]:
            return [sum_words(table, some, encode_order=False) for table in tables]

        found = over_filled(embed, jnp.any(rows != NULL, axis=-1), rows)
        return [x.reshape(B, S, x.shape[-1]) for x in found]  # [B*S, D] -> [B, S, D]

    def _selection_loss(self, hops: Hops, mask: Array, supports: Array) -> Array:
        """The margins of all hops of one question."""

        def of_hop(hop: Hops, right: Array) -> Array:
            at = jnp.arange(mask.shape[0], dtype=right.dtype)
            wrong = mask & (at != right) & (right >= 0)
            ranked = self._margins(hop, right)
            return jnp.sum(jnp.where(wrong, ranked, 0))

        if not len(mask):
            return jnp.zeros((), precision.accumulation_dtype(hops.scores.dtype))
        return jnp.sum(jax.vmap(of_hop)(hops, supports))

    def _margins(self, hop: Hops, right: Array) -> Array:
        """What every memory costs that ranks too near to the right one, [S]."""
        rank: Callable[..., Array] = partial(margin_ranking, margin=self.config.margin)
        if not self.config.write_time:
            best = jnp.broadcast_to(hop.scores[right], hop.scores.shape)
            return rank(best, hop.scores)
        tau = self._time_scores(hop.queries)
        compared = time_preferences(hop.scores, tau, hop.times)
        zero = jnp.zeros_like(hop.scores)
        at = jnp.arange(len(zero), dtype=right.dtype)
        newer, older = rank(compared[right], zero), rank(zero, compared[:, right])
        return jnp.where(at > right, newer, older)


def _choose(support: Array) -> Weighting:
    """A weighting that attends to one fact, whatever its score; to none if negative."""

    def weigh(scores: Array, mask: Array | None) -> Array:
        chosen = jax.nn.one_hot(support, scores.shape[-1], dtype=scores.dtype)
        return chosen if mask is None else jnp.where(mask, chosen, 0)

    return weigh


def _check(config: MemoryNetworkConfig) -> None:
    check_positive(config, "vocab_size", "embed_dim", "num_hops", "memory_size")
