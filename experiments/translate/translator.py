"""Translates, aligns and scores sentences in batches, on all devices."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.align import replace_unknown
from attnjax.decode import Hypotheses
from attnjax.parallel import batch_sharding, make_mesh
from attnjax.train import Params
from experiments.datasets.pairs.batching import Ids
from experiments.datasets.pairs.evaluation_batches import (
    EvaluationBatch,
    source_batches,
)
from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.tokenizers.sentences import EOS, PAD, UNKNOWN
from experiments.errors import UserError
from experiments.runs.processes import gather_rows, place_batch
from experiments.translate.alignments import Extraction
from experiments.translate.config import SearchConfig
from experiments.translate.model import TranslationModel


class Translation(NamedTuple):
    """One hypothesis for one sentence."""

    source_ids: list[int]  # with EOS
    ids: list[int]  # without EOS
    text: str
    log_prob: float  # nats
    score: float  # log_prob over the length penalty
    weights: np.ndarray  # [T, S], with the row and the column of EOS


class Translator:
    """Compiles the uses of a model, and applies them to text."""

    def __init__(
        self,
        model: TranslationModel,
        *,
        search: SearchConfig,
        max_source_length: int,
        mesh: Mesh | None = None,
        rows: int = 64,
        dictionary: Mapping[str, str] | None = None,
        how: Extraction = Extraction(),  # noqa: B008  immutable
    ) -> None:
        """Jits the uses of a model; each batch shape is compiled on first use.

        Args:
          model: the model with its tokenisers.
          search: settings of beam search.
          max_source_length: longest source in token ids.
          mesh: the devices; by default all there are.
          rows: most sentences in a batch.
          dictionary: source word to target word, which replaces UNK if
            `search.replace_unk`; a word that is not in it is copied.
          how: which weights align a translation.
        """
        self.model, self.search = model, search
        self.max_source_length = max_source_length
        self.mesh = make_mesh() if mesh is None else mesh
        self.rows, self.dictionary, self.how = rows, dictionary, how
        self._beam_search = jax.jit(
            partial(model.search, search=search, layer=how.layer, heads=how.heads),
            static_argnames="n_best",
            out_shardings=batch_sharding(self.mesh),
        )
        self._align = jax.jit(
            model.align,
            static_argnames=("layer", "heads"),
            out_shardings=batch_sharding(self.mesh),
        )
        self._token_log_probs = jax.jit(
            model.token_log_probs, out_shardings=batch_sharding(self.mesh)
        )
        self._loss = jax.jit(partial(model.loss, rng=None))

    def tokenize_sources(self, sentences: Sequence[str]) -> list[list[int]]:
        """Tokenises source sentences, and checks their lengths.

        Raises:
          UserError: if a sentence is longer than the limit.
        """
        encoded = [self.model.tokenizers.source.tokenize(s) for s in sentences]
        limit = self.max_source_length
        remedy = "split the sentence, or raise --max-source-length"
        if self._longest is not None and self._longest < limit:
            limit, remedy = self._longest, f"split the sentence: {self._positions}"
        for number, ids in enumerate(encoded, start=1):
            if len(ids) > limit:
                raise UserError(
                    f"line {number}: expected at most {limit} tokens, got {len(ids)} "
                    f"({remedy})"
                )
        return encoded

    def tokenize_pairs(
        self, pairs: Sequence[Sequence[str]], *, check_targets: bool = True
    ) -> TokenizedPairs:
        """Tokenises sentence pairs, and checks their lengths.

        Args:
          pairs: source and target text; further elements are ignored.
          check_targets: whether targets that the model has no positions for are
            refused.

        Raises:
          UserError: if a sentence is longer than the limit.
        """
        targets = [self.model.tokenizers.target.tokenize(pair[1]) for pair in pairs]
        for number, ids in enumerate(targets, start=1):
            if check_targets and self._longest is not None and len(ids) > self._longest:
                raise UserError(
                    f"line {number}: expected at most {self._longest} tokens in the "
                    f"target, got {len(ids)} (split the sentence: {self._positions})"
                )
        return TokenizedPairs(self.tokenize_sources([p[0] for p in pairs]), targets)

    @property
    def _longest(self) -> int | None:
        """Most tokens that the model has positions for, EOS not counted."""
        positions = self.model.max_positions
        return None if positions is None else positions - 1

    @property
    def _positions(self) -> str:
        return f"the model has learned {self.model.max_positions} positions"

    def translate(
        self,
        params: Params,
        sentences: Sequence[str],
        *,
        encoded: Sequence[Ids] | None = None,
        n_best: int = 1,
        progress: Callable[[int], None] = lambda count: None,
    ) -> list[list[Translation]]:
        """Translates sentences; empty ones get no hypothesis.

        Args:
          params: the model's parameters.
          sentences: text in the source language.
          encoded: their ids, as `tokenize_sources` returned them; None tokenises them.
          n_best: hypotheses per sentence; raises the beam size to at least as many.
          progress: called after every batch with the number of its sentences.

        Returns:
          For each sentence, in their order, up to `n_best` hypotheses, best first.

        Raises:
          UserError: if a sentence is longer than the limit.
        """
        if encoded is None:
            encoded = self.tokenize_sources(sentences)
        results: list[list[Translation]] = [[] for _ in encoded]
        present = [i for i, ids in enumerate(encoded) if len(ids)]
        batches = source_batches(
            [encoded[i] for i in present],
            rows=self.rows,
            row_multiple=self.mesh.size,
            max_length=self.model.max_positions,
        )
        for indices, ids in batches:
            found = self._search(params, ids, n_best)
            for row, index in enumerate(indices):
                if index >= 0:
                    one = jax.tree.map(lambda x, row=row: x[row], found)
                    i = present[index]
                    source = [int(x) for x in encoded[i]]
                    results[i] = list(self._translations(sentences[i], source, one))
            progress(int((indices >= 0).sum()))
        return results

    def align(
        self,
        params: Params,
        batches: Iterable[EvaluationBatch],
        *,
        layer: int | None = None,
        heads: tuple[int, ...] = (),
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Computes the attention weights of given translations.

        Args:
          params: the model's parameters.
          batches: the pairs, as ids.
          layer: decoder layer of a Transformer; None is the model's own choice.
          heads: heads of that layer; by default the mean over all.

        Yields:
          For each pair, batch by batch, its index and weights [T, S], with the row
          and the column of EOS.
        """
        for indices, batch in batches:
            placed = place_batch(batch, self.mesh)
            found = self._align(params, placed, layer=layer, heads=heads)
            weights = gather_rows(found)
            for row, index in enumerate(indices):
                if index >= 0:
                    T = int((batch.target[row] != PAD).sum())
                    S = int((batch.source[row] != PAD).sum())
                    yield int(index), weights[row, :T, :S]

    def token_log_probs(
        self, params: Params, batches: Iterable[EvaluationBatch]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Computes the log-probabilities of the tokens of given translations.

        Args:
          params: the model's parameters.
          batches: the pairs, as ids.

        Yields:
          For each pair, batch by batch, its index and the log-probabilities of its
          target's tokens, EOS last, [T], nats.
        """
        for indices, batch in batches:
            log_probs = gather_rows(
                self._token_log_probs(params, place_batch(batch, self.mesh))
            )
            for row, index in enumerate(indices):
                if index >= 0:
                    T = int((batch.target[row] != PAD).sum())
                    yield int(index), log_probs[row, :T]

    def nats_per_token(
        self, params: Params, batches: Iterable[EvaluationBatch]
    ) -> float:
        """Computes the mean cross-entropy of given translations, EOS included.

        Its exponential is the perplexity. Without any token it is NaN.
        """
        total = weight = 0.0
        for _, batch in batches:
            loss = self._loss(params, place_batch(batch, self.mesh))
            total += float(loss.total)
            weight += float(loss.num_tokens)
        return total / weight if weight else float("nan")

    def _search(self, params: Params, ids: np.ndarray, n_best: int) -> Hypotheses:
        found = self._beam_search(params, place_batch(ids, self.mesh), n_best=n_best)
        return gather_rows(found)

    def _translations(
        self, sentence: str, source: list[int], found: Hypotheses
    ) -> Iterator[Translation]:
        S = len(source) + 1
        for tokens, length, log_prob, score, weights in zip(*found, strict=True):
            if length == 0:
                continue
            ids = tokens[: length - 1].tolist()
            attended = np.asarray(weights[:length, :S])
            text = self.model.tokenizers.target.detokenize(ids)
            if self.search.replace_unk and UNKNOWN in text:
                text = self._replace_unknown(sentence, source, text, ids, attended)
            yield Translation(
                source_ids=[*source, EOS],
                ids=ids,
                text=text,
                log_prob=float(log_prob),
                score=float(score),
                weights=attended,
            )

    def _replace_unknown(
        self,
        sentence: str,
        source: list[int],
        text: str,
        ids: list[int],
        weights: np.ndarray,
    ) -> str:
        """Replaces each UNK by the source word with the largest attention weight."""
        tokenizers = self.model.tokenizers
        sides = (tokenizers.source, source), (tokenizers.target, ids)
        word_to_word = self.how.words(weights, *sides)[:-1, :-1]  # without EOS
        words = replace_unknown(
            sentence.split(),
            text.split(),
            word_to_word,
            unk=UNKNOWN,
            dictionary=self.dictionary,
        )
        return " ".join(words)
