"""Reading as a training task: every reading of a word, or a sound, is an example."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from attnjax.models.ctc import CTCConfig
from attnjax.train import Batch, Loss, Params
from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.pairs.training_batches import TokenBatches
from experiments.datasets.readings.datasets import Entry, fingerprint_entries
from experiments.datasets.spoken_digits.spoken_digits_builder import SpokenDigits
from experiments.datasets.spoken_digits.utterances import WORDS, Utterances
from experiments.errors import UserError
from experiments.training.parameters import count_parameters
from experiments.training.task import Best, Task, TaskSetup
from experiments.transduce.config import Config, SearchConfig
from experiments.transduce.model import Alphabets, build_model
from experiments.transduce.sounds import Examples, batch_reader

GREEDY = SearchConfig(beam_size=1)
SAMPLES = 2  # validation words that are shown after each evaluation


class ReadingTask(Task):
    """Trains a model to read words."""

    best: ClassVar[Best] = ("wer", "min")
    _frames_of_eos: ClassVar[int] = 1  # the end of a word is a position of its own

    def __init__(self, config: Config, setup: TaskSetup) -> None:
        """Reads the words and plans the batches; compiles nothing.

        Raises:
          UserError: if the data are missing or invalid, or the settings do not fit the
            data or the devices.
        """
        self.config = config
        setup.say("reading the data")
        self._entries = config.data.load("train")
        self._validation = config.data.load("validation")
        self.alphabets = self._alphabets()
        self.model, self._params = build_model(config, self.alphabets)
        self._reader = batch_reader(config.data, self.model, GREEDY, setup.mesh)
        examples = self._examples()
        if isinstance(config.model, CTCConfig):
            _check_frames(examples, frames_of_eos=self._frames_of_eos)
        self._batches = TokenBatches(
            examples,
            batch_tokens=config.batch_tokens,
            seed=config.seed,
            buckets=config.num_buckets,
            row_multiple=setup.mesh.size * config.accumulation_steps,
            max_length=config.max_length,
            pad=self._reader.pad_batch,
        )
        self._readable = self._reader.readable(self._validation)

    def _alphabets(self) -> Alphabets:
        return Alphabets.of(self._entries)

    def _examples(self) -> Any:
        """Every reading as an example: the letters, and the phones."""
        pairs = [(e.symbols, reading) for e in self._entries for reading in e.readings]
        source, target = self.alphabets
        return TokenizedPairs(
            (source.tokenize(" ".join(symbols)) for symbols, _ in pairs),
            (target.tokenize(" ".join(reading)) for _, reading in pairs),
        )

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
        """Computes the error rates of the validation data, decoded greedily."""
        rates = self._reader.error_rates(params, self._readable)
        return dict(zip(self._reader.rates, rates, strict=True))

    def samples(self, params: Params) -> Iterator[str]:
        """Shows how the first inputs for validation are read."""
        some = self._readable[:SAMPLES]
        read = self._reader.read(params, [entry.symbols for entry in some])
        for entry, found in zip(some, read, strict=True):
            best = self._reader.symbols(found[0][0]) if found else []
            yield f"{self._shown(entry)} -> {' '.join(best)}"

    def _shown(self, entry: Entry) -> str:
        return "".join(entry.symbols)

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
            f"{len(self._entries):,} {self._reader.unit}, "
            f"{count_parameters(self._params):,} parameters, "
            f"{self._batches.batches_per_epoch:,} steps an epoch in "
            f"{len(self._batches.shapes)} shapes"
        )


class SoundTask(ReadingTask):
    """Trains a model to read sounds, which are made when their batch is."""

    _frames_of_eos: ClassVar[int] = 0
    _entries: Utterances
    _validation: Utterances

    def _alphabets(self) -> Alphabets:
        return Alphabets.of_labels(WORDS)

    def _examples(self) -> Any:
        return Examples(self._entries, self.alphabets.target)

    def _shown(self, entry: Entry) -> str:
        return " ".join(entry.readings[0])

    def fingerprints(self) -> Mapping[str, str]:
        """Hashes the clips, and the settings by which they are joined."""
        return {
            "training": self._entries.fingerprint(),
            "validation": self._validation.fingerprint(),
        }


def _check_frames(examples: Any, *, frames_of_eos: int) -> None:
    """Checks that CTC has a path for each example.

    Raises:
      UserError: naming the first that has too few input positions.
    """
    frames, labels = examples.lengths[:, 0] + frames_of_eos, examples.lengths[:, 1]
    # There is a repeat between two labels at most.
    for n in np.flatnonzero(frames < 2 * labels - 1).tolist():
        ids = np.asarray(examples[n][1])
        least = len(ids) + int(np.sum(ids[1:] == ids[:-1]))
        if frames[n] < least:
            raise UserError(
                f"model: CTC needs an input position for each label, and one between "
                f"equal labels; example {n} has {frames[n]} for {least} (take a "
                "transducer, or stack fewer frames)"
            )


def make_task(config: Config, setup: TaskSetup) -> ReadingTask:
    """Makes the task of these data."""
    kind = SoundTask if isinstance(config.data, SpokenDigits) else ReadingTask
    return kind(config, setup)
