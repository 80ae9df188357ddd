"""Reading words as a training task: every reading of a word is an example."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import jax

from attnjax.train import Batch, Loss, Params
from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.pairs.training_batches import TokenBatches
from experiments.datasets.readings.datasets import Entry, fingerprint_entries
from experiments.training.parameters import count_parameters
from experiments.training.task import Best, Task, TaskSetup
from experiments.transduce.config import Config, SearchConfig
from experiments.transduce.model import Alphabets, build_model
from experiments.transduce.reading import BatchReader

GREEDY = SearchConfig(beam_size=1)
SAMPLES = 2  # validation words that are shown after each evaluation


class ReadingTask(Task):
    """Trains a model to read words."""

    best: ClassVar[Best] = ("wer", "min")

    def __init__(self, config: Config, setup: TaskSetup) -> None:
        """Reads the words and plans the batches; compiles nothing.

        Raises:
          UserError: if the data are missing or invalid, or the settings do not fit the
            data or the devices.
        """
        self.config = config
        setup.say("reading words")
        self._entries = config.data.load("train")
        self._validation = config.data.load("validation")
        self.alphabets = Alphabets.of(self._entries)
        self.model, self._params = build_model(config, self.alphabets)
        self._batches = TokenBatches(
            _examples(self._entries, self.alphabets),
            batch_tokens=config.batch_tokens,
            seed=config.seed,
            buckets=config.num_buckets,
            row_multiple=setup.mesh.size * config.accumulation_steps,
            max_length=config.max_length,
        )
        self._reader = BatchReader(self.model, GREEDY, setup.mesh)
        known = {symbol for entry in self._entries for symbol in entry.symbols}
        # A letter that no training word has cannot be read.
        self._readable = [e for e in self._validation if known.issuperset(e.symbols)]

    def init_params(self) -> Params:
        """Returns the model's initial parameters."""
        return self._params

    def loss(self, params: Params, batch: Batch, rng: jax.Array | None) -> Loss:
        """Computes the negative log-likelihood of the readings."""
        smoothing = self.config.label_smoothing
        return self.model.loss(params, batch, rng, label_smoothing=smoothing)

    def batches(self, start: int) -> Iterator[Batch]:
        """Iterates over this process's rows of the batches from a step on."""
        return self._batches.iterate(
            start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def evaluate(self, params: Params) -> Mapping[str, float]:
        """Computes the error rates of the validation words, decoded greedily."""
        return self._reader.error_rates(params, self._readable)._asdict()

    def samples(self, params: Params) -> Iterator[str]:
        """Shows how the first validation words are read."""
        some = [entry.symbols for entry in self._readable[:SAMPLES]]
        for symbols, found in zip(some, self._reader.read(params, some), strict=True):
            best = self._reader.symbols(found[0][0]) if found else []
            yield f"{''.join(symbols)} -> {' '.join(best)}"

    def save(self, folder: Path) -> None:
        """Writes the alphabets."""
        self.alphabets.save(folder)

    def fingerprints(self) -> Mapping[str, str]:
        """Hashes the training and the validation words with their readings."""
        return {
            "training": fingerprint_entries(self._entries),
            "validation": fingerprint_entries(self._validation),
        }

    def num_shapes(self) -> int:
        """Counts the batch shapes."""
        return len(self._batches.shapes)

    def summary(self) -> str:
        """Counts words, parameters and steps of an epoch."""
        return (
            f"{len(self._entries):,} words, {count_parameters(self._params):,} "
            f"parameters, {self._batches.batches_per_epoch:,} steps an epoch in "
            f"{len(self._batches.shapes)} shapes"
        )


def _examples(entries: Sequence[Entry], alphabets: Alphabets) -> TokenizedPairs:
    """Every reading as an example: the letters, and the phones."""
    pairs = [
        (entry.symbols, reading) for entry in entries for reading in entry.readings
    ]
    return TokenizedPairs(
        (alphabets.source.tokenize(" ".join(symbols)) for symbols, _ in pairs),
        (alphabets.target.tokenize(" ".join(reading)) for _, reading in pairs),
    )
