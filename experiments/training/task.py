"""What is trained: the protocol between one trainer and every experiment.

An experiment states its loss, its batches and its evaluation as a `Task`;
`experiments.training.trainer.train` does the rest: devices, optimiser, run folder,
checkpoints, logging, resumption. A new experiment is a task and a config file.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.parallel import process_rows
from attnjax.train import Batch, Carry, Loss, Params
from experiments.errors import UserError

Best = tuple[str, Literal["max", "min"]]


class TaskSetup(NamedTuple):
    """What the trainer hands to a task when it is constructed."""

    mesh: Mesh  # devices; a batch is split by rows over all of them
    saved: Path | None  # folder of the run that is resumed: reload what `save` wrote
    say: Callable[[str], None]  # reports on stderr what is being prepared

    def check_batch_size(self, batch_size: int, accumulation_steps: int) -> None:
        """Checks that microbatches can be split over the devices.

        Raises:
          UserError: if a batch has another number of rows than a multiple of both.
        """
        devices = self.mesh.size
        parts = devices * accumulation_steps
        if batch_size % parts:
            raise UserError(
                f"batch_size: expected a multiple of {parts} (of {devices} devices x "
                f"{accumulation_steps} accumulation steps), got {batch_size}"
            )


class Task(Protocol):
    """One training problem. Subclass it; abstract methods have no default.

    A task is constructed as `MyTask(config, setup)`, with the config of its run (a
    `TrainingConfig`) and a `TaskSetup`. The constructor raises UserError if a setting
    or the data are invalid; no file has been written by then.

    Attributes:
      best: the metric of `evaluate` that chooses the best checkpoint, and whether its
        maximum or minimum is best.
      unit: what the loss is a mean over, which its weight counts; log and screen name
        it.
    """

    best: ClassVar[Best]
    unit: str = "tokens"

    @abstractmethod
    def init_params(self) -> Params:
        """Returns the parameters before training, a function of the seed."""

    @abstractmethod
    def loss(self, params: Params, batch: Batch, rng: jax.Array | None) -> Loss:
        """Computes the loss of a batch; pure, compiled once for each batch shape.

        Args:
          params: tree of arrays.
          batch: one batch on the devices, every array of shape [B, ...].
          rng: random key of this step, for dropout; None disables dropout.

        Returns:
          The summed loss and its weight: what the mean is taken over (tokens,
          sequences). Padding has weight 0.
        """

    def initial_carry(self) -> Carry | None:
        """Returns what the rows of a stream carry before the first step, [B, ...].

        Every process returns all rows. With a carry, `stream_loss` is trained instead
        of `loss`, and the carry is saved in the checkpoints. None: batches are
        independent.
        """
        return None

    def stream_loss(
        self, params: Params, batch: Batch, rng: jax.Array | None, carry: Carry
    ) -> tuple[Loss, Carry]:
        """Computes the loss of a segment of each row's stream, and the new carry.

        Arguments are those of `loss`, and what the last step returned for the rows.
        """
        return self.loss(params, batch, rng), carry

    @abstractmethod
    def batches(self, start: int) -> Iterator[Batch]:
        """Iterates over this process's rows of the batches from a step on, endlessly.

        The batch of a step is a pure function of (seed, step), so that a resumed run
        continues with the same data. Shapes come from a small fixed set: each of them
        is compiled. `generate_batches` suits data that are generated on the fly.

        Args:
          start: number of the first step, from 0.
        """

    @abstractmethod
    def evaluate(self, params: Params) -> Mapping[str, float]:
        """Computes the validation metrics; logged as `validation/NAME`.

        Every process calls it at the same step with the same parameters.
        """

    def save(self, folder: Path) -> None:
        """Writes what the parameters are useless without, such as tokenisers.

        Args:
          folder: is empty. Its files, not folders in it, are moved into the run's, and
            every checkpoint has checksums of them.
        """

    def fingerprints(self) -> Mapping[str, str]:
        """Identifies the data, split by split; a resumed run must have the same.

        All that the content of a batch depends on, and neither the place of files nor
        their format. Without any, a change of the data goes unnoticed.
        """
        return {}

    def num_shapes(self) -> int | None:
        """Counts the shapes that batches can have; None if it is not known."""
        return None

    def summary(self) -> str:
        """Describes data and model in one line, said before training starts."""
        return ""

    def samples(self, params: Params) -> Iterable[str]:
        """Decodes, samples or otherwise shows in text what the model does by now.

        Called after each `evaluate` with the same parameters, by every process; the
        lines are shown beside the metrics.
        """
        return ()


def generate_batches(
    make_batch: Callable[[int], Batch], start: int, *, threads: int = 2
) -> Iterator[Batch]:
    """Generates batches ahead of their use; for tasks without data files.

    Args:
      make_batch: maps a step to its whole batch, a tree of numpy arrays [B, ...]; a
        pure function of (seed, step), called from several threads.
      start: the first step.
      threads: number of threads that generate.

    Yields:
      This process's rows of each batch, without end.

    Example:
      >>> batches = generate_batches(lambda step: np.full(2, step), start=5)
      >>> next(batches), next(batches)
      (array([5, 5]), array([6, 6]))
    """

    def local(step: Any) -> Batch:
        batch = make_batch(int(step))
        return jax.tree.map(lambda x: np.asarray(x)[process_rows(len(x))], batch)

    steps = grain.MapDataset.range(start, 2**62).map(local)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(steps.to_iter_dataset(options))
