"""Learning an algorithm as a training task: sequences made on the fly, bits as cost."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import jax
import numpy as np

from attnjax.train import Batch, Loss, Params
from experiments.algorithms.config import Config
from experiments.algorithms.evaluation import Evaluator, validation_set
from experiments.algorithms.model import build_model, tape_warning
from experiments.algorithms.sequences import Algorithm
from experiments.training.parameters import count_parameters
from experiments.training.task import Best, Task, TaskSetup, generate_batches


class AlgorithmTask(Task):
    """Trains a model on one of the five tasks."""

    best: ClassVar[Best] = ("bits_per_sequence", "min")
    unit: str = "sequences"

    def __init__(self, config: Config, setup: TaskSetup) -> None:
        """Builds the model and the validation set; compiles nothing.

        Raises:
          UserError: if settings do not fit together, or not the devices.
        """
        self.config = config
        setup.check_batch_size(config.batch_size, config.accumulation_steps)
        self.model, self._params = build_model(config)
        if warning := tape_warning(self.model.config, config.algorithm):
            setup.say(f"warning: {warning}")
        self._evaluator = Evaluator(self.model, setup.mesh)
        self._validation = validation_set(config.algorithm, config.validation_size)

    def init_params(self) -> Params:
        """Returns the model's initial parameters."""
        return self._params

    def loss(self, params: Params, batch: Batch, rng: jax.Array | None) -> Loss:
        """Computes the cross-entropy of the predicted bits, in nats per sequence."""
        return self.model.loss(params, batch, rng)

    def batches(self, start: int) -> Iterator[Batch]:
        """Generates this process's rows of the batches from a step on."""
        config = self.config

        def make_batch(step: int) -> Batch:
            rng = np.random.default_rng((config.seed, step))
            return self._level(step).generate(rng, config.batch_size)

        return generate_batches(make_batch, start)

    def evaluate(self, params: Params) -> Mapping[str, float]:
        """Computes bits per sequence, and how many bits and sequences are wrong."""
        return self._evaluator(params, self._validation).metrics

    def num_shapes(self) -> int:
        """One for each level of the curriculum."""
        steps = range(self.config.curriculum_steps + 1)
        return len({self._level(step) for step in steps})

    def _level(self, step: int) -> Algorithm:
        """The task as it is at a step: a level of the curriculum, or itself."""
        algorithm, growing = self.config.algorithm, self.config.curriculum_steps
        return algorithm.eased(step / growing) if step < growing else algorithm

    def summary(self) -> str:
        """Names the task and counts steps and parameters."""
        T = self._validation.inputs.shape[1]
        return (
            f"{type(self.config.algorithm).__name__}, {T} steps a sequence, "
            f"{count_parameters(self._params):,} parameters"
        )
