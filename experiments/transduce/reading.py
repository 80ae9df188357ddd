"""Reads many inputs in batches, on all devices."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.parallel import batch_sharding
from attnjax.train import Params
from experiments.datasets.pairs.batching import pad_batch
from experiments.datasets.pairs.bucketing import choose_shapes
from experiments.datasets.pairs.evaluation_batches import (
    evaluation_batches,
    pad_sources,
    source_batches,
)
from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.readings.datasets import Entry
from experiments.errors import UserError
from experiments.runs.processes import gather_rows, place_batch
from experiments.transduce.config import SearchConfig
from experiments.transduce.model import Reader
from experiments.transduce.scores import ErrorRates, error_rates

ROWS = 128


class BatchReader:
    """Compiles the uses of a model, and applies them to inputs of any length.

    Its inputs are symbols. `sounds.SoundReader` has others, and overrides what depends
    on their kind.
    """

    unit: ClassVar[str] = "words"  # what an input is
    rates: ClassVar[tuple[str, str]] = (
        "wer",
        "per",
    )  # names of the fields of ErrorRates
    pad_sources = staticmethod(pad_sources)
    pad_batch = staticmethod(pad_batch)
    pairs = TokenizedPairs

    def __init__(self, reader: Reader, search: SearchConfig, mesh: Mesh) -> None:
        """Jits the uses of a model; each batch shape is compiled on first use."""
        self.reader, self.mesh = reader, mesh
        source = reader.alphabets.source
        self._known = frozenset(source.ids_to_tokens(range(source.vocab_size)))
        sharding = batch_sharding(mesh)
        self._read = jax.jit(
            partial(reader.read, search=search), out_shardings=sharding
        )
        self._paths = jax.jit(reader.paths, out_shardings=sharding)

    def name(self, line: str) -> str:
        """The word of a line."""
        return line.strip().lower()

    def parse(self, names: Sequence[str]) -> Sequence[Any]:
        """Makes the inputs of these names."""
        return names

    def place(self, position: int) -> str:
        """Names an input position: its number, from 1."""
        return str(position + 1)

    def can_read(self, symbols: Any) -> bool:
        """Tells whether all symbols of an input occurred in training."""
        return self._known.issuperset(symbols)

    def readable(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those without a symbol that never occurred in training."""
        return [entry for entry in entries if self.can_read(entry.symbols)]

    def tokenize(self, inputs: Any) -> Any:
        """Numbers the symbols of inputs.

        Raises:
          UserError: if a symbol never occurred in training.
        """
        source = self.reader.alphabets.source
        for number, symbols in enumerate(inputs, start=1):
            unknown = [symbol for symbol in symbols if symbol not in self._known]
            if unknown:
                raise UserError(
                    f"line {number}: expected letters of the training words, got "
                    f"{unknown[0]!r}"
                )
        return [source.tokenize(" ".join(symbols)) for symbols in inputs]

    def read(
        self,
        params: Params,
        inputs: Sequence[Any],
        *,
        progress: Callable[[int], None] = lambda count: None,
    ) -> list[list[tuple[list[int], float]]]:
        """Decodes inputs.

        Returns:
          For each input its outputs as ids, best first, with their log-probabilities in
          nats; none for an empty input.

        Raises:
          UserError: if a symbol never occurred in training.
        """
        encoded = self.tokenize(inputs)
        results: list[list[tuple[list[int], float]]] = [[] for _ in encoded]
        present = [i for i, ids in enumerate(encoded) if len(ids)]
        batches = source_batches(
            [encoded[i] for i in present],
            rows=ROWS,
            row_multiple=self.mesh.size,
            pad=self.pad_sources,
        )
        for indices, ids in batches:
            found = gather_rows(self._read(params, place_batch(ids, self.mesh)))
            for row, index in enumerate(indices):
                if index >= 0:
                    results[present[index]] = [
                        (tokens[:length].tolist(), float(log_prob))
                        for tokens, length, log_prob in zip(
                            *(x[row] for x in found), strict=True
                        )
                        if np.isfinite(log_prob)
                    ]
            progress(int((indices >= 0).sum()))
        return results

    def symbols(self, ids: Sequence[int]) -> list[str]:
        """The symbols of output ids."""
        return self.reader.alphabets.target.ids_to_tokens(ids)

    def paths(
        self,
        params: Params,
        inputs: Sequence[Any],
        outputs: Sequence[Sequence[int]],
    ) -> list[list[int]]:
        """Finds the input position of each output label; the end is one more position.

        Args:
          params: the model's parameters.
          inputs: none of them empty.
          outputs: ids, one list for each input.
        """
        examples = self.pairs(self.tokenize(inputs), outputs)
        size = self.mesh.size
        tokens = max(2048, (int(examples.lengths.max()) + 1) * size)
        shapes = choose_shapes(
            examples.lengths + 1, batch_tokens=tokens, buckets=2, row_multiple=size
        )
        found: list[list[int]] = [[] for _ in inputs]
        for indices, batch in evaluation_batches(examples, shapes, pad=self.pad_batch):
            frames = gather_rows(self._paths(params, place_batch(batch, self.mesh)))
            for row, index in enumerate(indices):
                if index >= 0:
                    found[index] = frames[row, : len(outputs[index])].tolist()
        return found

    def error_rates(
        self,
        params: Params,
        entries: Sequence[Entry],
        *,
        progress: Callable[[int], None] = lambda count: None,
    ) -> ErrorRates:
        """Compares the best output of each entry with its readings.

        The output of one that cannot be read, for a symbol that never occurred in
        training, is empty.
        """
        entries = list(entries)  # a sound is made when it is asked for
        readable = [n for n, e in enumerate(entries) if self.can_read(e.symbols)]
        progress(len(entries) - len(readable))
        inputs = [entries[n].symbols for n in readable]
        best: list[list[str]] = [[] for _ in entries]
        found = self.read(params, inputs, progress=progress)
        for n, one in zip(readable, found, strict=True):
            if one:
                best[n] = self.symbols(one[0][0])
        return error_rates(best, [entry.readings for entry in entries])
