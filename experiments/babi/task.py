"""Question answering as a training task: stories, questions, and their answers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

from attnjax.models.memory_network import MemoryNetworkConfig
from attnjax.parallel import process_rows
from attnjax.train import Batch, Loss, Params
from experiments.babi.config import Config
from experiments.babi.evaluator import Evaluator
from experiments.babi.model import build_model
from experiments.datasets.stories.arrays import encode_questions
from experiments.datasets.stories.batches import EpochBatches
from experiments.datasets.stories.datasets import fingerprint_stories, hold_out
from experiments.datasets.stories.vocabulary import Vocabulary
from experiments.errors import UserError
from experiments.training.parameters import count_parameters
from experiments.training.task import Best, Task, TaskSetup


class QuestionTask(Task):
    """Trains a memory network on stories."""

    best: ClassVar[Best] = ("error", "min")
    unit: str = "questions"

    def __init__(self, config: Config, setup: TaskSetup) -> None:
        """Reads and encodes the stories; compiles nothing.

        Raises:
          UserError: if the data are missing or invalid, or the settings do not fit the
            data or the devices.
        """
        self.config = config
        setup.say("reading stories")
        stories = config.data.load("train")
        # From all of them, so that another held_out leaves the ids as they are.
        self.vocabulary = Vocabulary.of(stories)
        kept, held = hold_out(stories, config.held_out)
        size = config.model.memory_size
        self._train = encode_questions(kept, self.vocabulary, memory_size=size)
        self._validation = self._train
        if held:
            self._validation = encode_questions(held, self.vocabulary, memory_size=size)
        self._check_supports()
        setup.check_batch_size(config.batch_size, config.accumulation_steps)
        self._order = EpochBatches(
            len(self._train), rows=config.batch_size, seed=config.seed
        )
        self.model, self._params = build_model(config, self.vocabulary)
        self._evaluator = Evaluator(self.model, mesh=setup.mesh)
        self._fingerprints = {
            "training": fingerprint_stories(kept),
            "validation": fingerprint_stories(held),
        }

    def _check_supports(self) -> None:
        """Checks that a model which is trained on supporting facts has some."""
        hard = isinstance(self.config.model, MemoryNetworkConfig)
        if hard and not (self._train.supports >= 0).any():
            raise UserError(
                "data: expected questions that name their supporting facts, got none "
                "(a memory network is trained on them; an end-to-end one is not)"
            )

    def init_params(self) -> Params:
        """Returns the model's initial parameters."""
        return self._params

    def loss(self, params: Params, batch: Batch, rng: jax.Array | None) -> Loss:
        """Computes the cross-entropy of answers, or margins of facts and answers."""
        return self.model.loss(params, batch, rng)

    def batches(self, start: int) -> Iterator[Batch]:
        """Iterates over this process's rows of the batches from a step on."""
        mine = process_rows(self.config.batch_size)
        step = start
        while True:
            rows = self._order.rows(step)[mine]
            linear = np.full(len(rows), step < self.config.linear_start_steps)
            yield self._train.batch(rows) | {"linear": linear}
            step += 1

    def evaluate(self, params: Params) -> Mapping[str, float]:
        """Computes the share of wrong answers, of validation and training questions."""
        errors = self._evaluator(params, self._validation)
        training = errors
        if self._validation is not self._train:
            training = self._evaluator(params, self._train)
        return {
            "error": float(np.mean(list(errors.values()))),
            "training_error": float(np.mean(list(training.values()))),
        }

    def save(self, folder: Path) -> None:
        """Writes the vocabulary."""
        self.vocabulary.save(folder)

    def fingerprints(self) -> Mapping[str, str]:
        """Hashes the training and the validation stories."""
        return self._fingerprints

    def num_shapes(self) -> int:
        """All batches have the same shape."""
        return 1

    def summary(self) -> str:
        """Counts questions, words, parameters and steps of an epoch."""
        return (
            f"{len(self._train):,} questions, {len(self.vocabulary):,} words and "
            f"answers, {count_parameters(self._params):,} parameters, "
            f"{self._order.steps_per_epoch:,} steps an epoch"
        )
