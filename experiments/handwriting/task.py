"""Writing as a training task: the next pen point is predicted."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import jax

from attnjax.train import Batch, Loss, Params
from experiments.datasets.strokes.batches import StrokeBatches
from experiments.datasets.strokes.datasets import fingerprint_lines
from experiments.datasets.strokes.lines import Statistics
from experiments.handwriting.config import Config
from experiments.handwriting.evaluator import Evaluator, metrics
from experiments.handwriting.model import build_model, learn_alphabet
from experiments.training.parameters import count_parameters
from experiments.training.task import Best, Task, TaskSetup, generate_batches
from experiments.training.weight_noise import perturb, with_complexity


class HandwritingTask(Task):
    """Trains a network to predict pen points, with or without the text."""

    best: ClassVar[Best] = ("nats_per_line", "min")
    unit: str = "lines"

    def __init__(self, config: Config, setup: TaskSetup) -> None:
        """Reads the lines and plans the batches; compiles nothing.

        Raises:
          UserError: if the data are missing or invalid, or the settings do not fit the
            data or the devices.
        """
        self.config = config
        setup.check_batch_size(config.batch_size, config.accumulation_steps)
        setup.say("reading lines")
        self._lines = config.data.load("train")
        self._validation = config.data.load("validation")
        self.statistics = Statistics.of(self._lines)
        self.alphabet = learn_alphabet(config, self._lines)
        self.writer, self._params = build_model(config, self.statistics, self.alphabet)
        self._batches = StrokeBatches(
            [self.writer.line(line) for line in self._lines],
            batch_size=config.batch_size,
            buckets=config.num_buckets,
            seed=config.seed,
        )
        for number, line in enumerate(self._validation, start=1):
            self.writer.line(line, f"validation line {number}")
        self._evaluator = Evaluator(self.writer, setup.mesh)

    def init_params(self) -> Params:
        """Returns the model's initial parameters."""
        return self._params

    def loss(self, params: Params, batch: Batch, rng: jax.Array | None) -> Loss:
        """Computes the negative log-density of the points, in nats per line."""
        noise = self.config.weight_noise
        noisy, rng = perturb(noise, params, rng)
        count = self._batches.steps_per_epoch * self.config.accumulation_steps
        loss = self.writer.loss(noisy, batch, rng)
        return with_complexity(noise, loss, params, num_batches=count)

    def batches(self, start: int) -> Iterator[Batch]:
        """Iterates over this process's rows of the batches from a step on."""
        return generate_batches(self._batches.batch, start)

    def evaluate(self, params: Params) -> Mapping[str, float]:
        """Computes the nats of the validation lines, and where the window stands."""
        return metrics(self._validation, self._evaluator(params, self._validation))

    def save(self, folder: Path) -> None:
        """Writes the statistics of the offsets, and the alphabet."""
        self.statistics.save(folder)
        if self.alphabet is not None:
            self.alphabet.save(folder)

    def fingerprints(self) -> Mapping[str, str]:
        """Hashes the training and the validation lines."""
        return {
            "training": fingerprint_lines(self._lines),
            "validation": fingerprint_lines(self._validation),
        }

    def num_shapes(self) -> int:
        """Counts the batch shapes."""
        return len(self._batches.buckets.shapes)

    def summary(self) -> str:
        """Counts lines, points, parameters and steps of an epoch."""
        points = sum(len(line.points) for line in self._lines)
        return (
            f"{len(self._lines):,} lines of {points / len(self._lines):.0f} points, "
            f"{count_parameters(self._params):,} parameters, "
            f"{self._batches.steps_per_epoch:,} steps an epoch in "
            f"{self.num_shapes()} shapes"
        )
