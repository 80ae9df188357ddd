"""From sentences to translations, a batch at a time, on all devices."""

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
from experiments.datasets.pairs.ordered import OrderedBatch, source_batches
from experiments.datasets.tokenizers.sentences import EOS, PAD, UNKNOWN
from experiments.errors import UserError
from experiments.runs.processes import gather_rows, place_batch
from experiments.translate.alignments import word_weights
from experiments.translate.config import SearchConfig
from experiments.translate.system import System


class Translation(NamedTuple):
    """One hypothesis for one sentence."""

    source_ids: list[int]  # with EOS
    ids: list[int]  # without EOS
    text: str
    log_prob: float  # nats
    score: float  # log_prob over the length penalty
    weights: np.ndarray  # [T, S], with the row and the column of EOS


class Translator:
    """A system with parameters, ready to translate."""

    def __init__(
        self,
        system: System,
        *,
        search: SearchConfig,
        source_limit: int,
        mesh: Mesh | None = None,
        rows: int = 64,
        dictionary: Mapping[str, str] | None = None,
    ) -> None:
        """Prepares to translate; each batch shape is compiled on first use.

        Args:
          system: the model and its tokenisers.
          search: how hypotheses are found.
          source_limit: longest source in ids.
          mesh: the devices; by default all there are.
          rows: most sentences translated at a time.
          dictionary: source word to target word, to write for UNK where `search`
            says so; a word that is not in it is copied.
        """
        self.system, self.search, self.source_limit = system, search, source_limit
        self.mesh = make_mesh() if mesh is None else mesh
        self.rows, self.dictionary = rows, dictionary
        self._find = jax.jit(
            partial(system.search, search=search),
            static_argnames="n_best",
            out_shardings=batch_sharding(self.mesh),
        )
        self._align = jax.jit(system.align, out_shardings=batch_sharding(self.mesh))
        self._score = jax.jit(system.score, out_shardings=batch_sharding(self.mesh))
        self._loss = jax.jit(partial(system.loss, rng=None))

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Makes ids of sentences.

        Raises:
          UserError: if a sentence is longer than the limit.
        """
        encoded = [self.system.tokenizers.source.encode(s) for s in sentences]
        for number, ids in enumerate(encoded, start=1):
            if len(ids) > self.source_limit:
                raise UserError(
                    f"line {number}: expected at most {self.source_limit} tokens, got "
                    f"{len(ids)} (split the sentence, or raise --source-limit)"
                )
        return encoded

    def translate(
        self,
        params: Params,
        sentences: Sequence[str],
        *,
        n_best: int = 1,
        progress: Callable[[int], None] = lambda count: None,
    ) -> list[list[Translation]]:
        """Translates sentences; empty ones get no hypothesis.

        Args:
          params: the system's parameters.
          sentences: text in the source language.
          n_best: hypotheses a sentence; the beam is at least as wide.
          progress: told, after every batch, how many more sentences are done.

        Returns:
          For each sentence, in their order, up to `n_best` hypotheses, best first.

        Raises:
          UserError: if a sentence is longer than the limit.
        """
        encoded = self.encode(sentences)
        results: list[list[Translation]] = [[] for _ in encoded]
        present = [i for i, ids in enumerate(encoded) if ids]
        batches = source_batches(
            [encoded[i] for i in present],
            rows=self.rows,
            row_multiple=self.mesh.size,
        )
        for indices, ids in batches:
            found = self._search(params, ids, n_best)
            for row, index in enumerate(indices):
                if index >= 0:
                    one = jax.tree.map(lambda x, row=row: x[row], found)
                    i = present[index]
                    results[i] = list(self._read(sentences[i], encoded[i], one))
            progress(int((indices >= 0).sum()))
        return results

    def align(
        self, params: Params, batches: Iterable[OrderedBatch]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Finds what the system reads when it writes given translations.

        Args:
          params: the system's parameters.
          batches: the pairs, as ids.

        Yields:
          For each pair, batch by batch, its index and weights [T, S], with the row
          and the column of EOS.
        """
        for indices, batch in batches:
            weights = gather_rows(self._align(params, place_batch(batch, self.mesh)))
            for row, index in enumerate(indices):
                if index >= 0:
                    T = int((batch.target[row] != PAD).sum())
                    S = int((batch.source[row] != PAD).sum())
                    yield int(index), weights[row, :T, :S]

    def score(
        self, params: Params, batches: Iterable[OrderedBatch]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Finds how likely given translations are.

        Args:
          params: the system's parameters.
          batches: the pairs, as ids.

        Yields:
          For each pair, batch by batch, its index and the log-probabilities of its
          target's tokens, EOS last, [T], nats.
        """
        for indices, batch in batches:
            gains = gather_rows(self._score(params, place_batch(batch, self.mesh)))
            for row, index in enumerate(indices):
                if index >= 0:
                    yield int(index), gains[row, : (batch.target[row] != PAD).sum()]

    def nats_per_token(self, params: Params, batches: Iterable[OrderedBatch]) -> float:
        """Measures given translations: mean nats of their tokens, EOS among them.

        The exponential of it is the perplexity; of no tokens at all it is NaN.
        """
        total = weight = 0.0
        for _, batch in batches:
            loss = self._loss(params, place_batch(batch, self.mesh))
            total += float(loss.total)
            weight += float(loss.num_tokens)
        return total / weight if weight else float("nan")

    def _search(self, params: Params, ids: np.ndarray, n_best: int) -> Hypotheses:
        found = self._find(params, place_batch(ids, self.mesh), n_best=n_best)
        return gather_rows(found)

    def _read(
        self, sentence: str, source: list[int], found: Hypotheses
    ) -> Iterator[Translation]:
        S = len(source) + 1
        for tokens, length, log_prob, score, weights in zip(*found, strict=True):
            if length == 0:
                continue
            ids = tokens[: length - 1].tolist()
            read = np.asarray(weights[:length, :S])
            text = self.system.tokenizers.target.decode(ids)
            if self.search.replace_unk and UNKNOWN in text:
                text = self._replace(sentence, source, text, ids, read)
            yield Translation(
                source_ids=[*source, EOS],
                ids=ids,
                text=text,
                log_prob=float(log_prob),
                score=float(score),
                weights=read,
            )

    def _replace(
        self,
        sentence: str,
        source: list[int],
        text: str,
        ids: list[int],
        weights: np.ndarray,
    ) -> str:
        """Writes for each unknown word what it reads most."""
        tokenizers = self.system.tokenizers
        sides = (tokenizers.source, source), (tokenizers.target, ids)
        between = word_weights(weights, *sides)[:-1, :-1]
        words = replace_unknown(
            sentence.split(),
            text.split(),
            between,
            unk=UNKNOWN,
            dictionary=self.dictionary,
        )
        return " ".join(words)
