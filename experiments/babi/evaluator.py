"""The share of wrong answers, task by task."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.train import Params
from experiments.babi.model import QuestionAnswerer
from experiments.datasets.stories.arrays import QuestionArrays
from experiments.runs.processes import gather_rows, place_batch

ROWS = 256  # questions answered at once


class Evaluator:
    """Answers questions and counts the wrong answers, on all devices."""

    def __init__(self, model: QuestionAnswerer, *, mesh: Mesh) -> None:
        """Jits the answer."""
        self._rows = -(-ROWS // mesh.size) * mesh.size
        self._mesh = mesh
        self._answer = jax.jit(lambda params, batch: model.answer(params, batch)[0])

    def __call__(
        self,
        params: Params,
        questions: QuestionArrays,
        progress: Callable[[int], None] = lambda count: None,
    ) -> dict[int, float]:
        """Computes the share of wrong answers of each task.

        Args:
          params: the model's parameters.
          questions: of any number of tasks, each question answered once.
          progress: called after every batch with the number of its questions.

        Returns:
          Task to share, in the order of the tasks.
        """
        wrong = np.zeros(len(questions), bool)
        for start in range(0, len(questions), self._rows):
            rows = np.arange(start, min(start + self._rows, len(questions)))
            # The last batch is filled up with its first question.
            filled = np.resize(rows, self._rows)
            filled[len(rows) :] = start
            batch = questions.batch(filled)
            inputs = {name: batch[name] for name in ("facts", "question")}
            answers = gather_rows(self._answer(params, place_batch(inputs, self._mesh)))
            wrong[rows] = answers[: len(rows)] != questions.answers[rows]
            progress(len(rows))
        tasks = sorted(set(questions.tasks.tolist()))
        return {task: float(wrong[questions.tasks == task].mean()) for task in tasks}
