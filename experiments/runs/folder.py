"""The folder of a training run: created, opened, loaded from.

    RUN/config.json     the config, with the changes that a resumption may make
    RUN/data.json       fingerprints of the data (`experiments.runs.data_file`)
    RUN/metrics.jsonl   one line per logged step (`experiments.runs.metrics_log`)
    RUN/tensorboard/    the same numbers as TensorBoard events
    RUN/checkpoints/    the newest and the best (`experiments.runs.checkpoints`)

and what each experiment adds, such as tokenisers and pictures.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp

from attnjax.train import Params
from experiments.errors import UserError
from experiments.files import lock
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.config_file import (
    cannot_write,
    check_folder,
    immutable_fields,
    read_config,
    write_config,
)
from experiments.runs.config_json import (
    config_from_json,
    config_to_json,
    differences,
    flatten_fields,
)
from experiments.runs.metrics_log import best_step, read_metrics, silence_library_logs
from experiments.runs.processes import on_main

T = TypeVar("T")


class Run:
    """The folder of one training run."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        silence_library_logs()
        self.folder = folder
        self.config = dict(config)  # as config.json holds it
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.mutable_fields: tuple[str, ...] = ()

    @classmethod
    def create(
        cls,
        folder: Path | str,
        config: Any,
        *,
        resume: bool = False,
        mutable_fields: Sequence[str] = (),
    ) -> Self:
        """Creates the folder of a run, or opens it to resume the run.

        Args:
          folder: new or empty; with `resume`, also one that holds this run.
          config: dataclass or mapping of what JSON can hold.
          resume: whether to resume the run in the folder. If the folder holds none, a
            new run is started, so that one command serves for both.
          mutable_fields: dotted fields that may differ from the config with which the
            run was started, such as "steps". A prefix names all fields below it.

        Raises:
          UserError: if the folder holds a run and `resume` is False, or other files,
            or a run with another config.
        """
        cls.check(folder, config, resume=resume, mutable_fields=mutable_fields)
        folder, plain = Path(folder), config_to_json(config)
        on_main(lambda: write_config(folder, plain))
        run = cls(folder, plain)
        run.mutable_fields = tuple(mutable_fields)
        return run

    @staticmethod
    def check(
        folder: Path | str,
        config: Any,
        *,
        resume: bool = False,
        mutable_fields: Sequence[str] = (),
    ) -> None:
        """Raises the errors of `create` before any slow work; writes nothing.

        Raises:
          UserError: as `create` does.
        """
        plain, mutable = config_to_json(config), tuple(mutable_fields)
        on_main(
            lambda: check_folder(
                Path(folder), plain, resume=resume, mutable_fields=mutable
            )
        )

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Opens the folder of a run for reading.

        Raises:
          UserError: if the folder holds no run.
        """
        folder = Path(folder)
        return cls(folder, read_config(folder))

    def config_as(self, kind: type[T]) -> T:
        """Rebuilds the config as a dataclass.

        Raises:
          UserError: naming the field that does not fit the dataclass.
        """
        return config_from_json(kind, self.config)

    def metrics(self) -> list[dict[str, Any]]:
        """Reads the lines of metrics.jsonl."""
        return read_metrics(self.folder / "metrics.jsonl")

    def load_params(
        self,
        which: str = "best",
        *,
        like: Params | None = None,
        count: int = 2,
    ) -> Params:
        """Loads the parameters of a checkpoint, or the mean over several.

        Source: Vaswani et al. 2017 (arXiv:1706.03762), section 6.1, averages the last 5
        checkpoints (20 of the big model).

        Args:
          which: "best", "last", or "mean" for the mean over the newest. In a run that
            was never validated, "best" is the last.
          like: parameters with the same shapes, whose shardings the arrays get; by
            default the result is a nested dict of arrays on one device.
          count: number of checkpoints in the "mean"; all, if there are fewer.

        Raises:
          UserError: if there is no such checkpoint, or one is damaged, or belongs
            to another config.
        """
        step = self.checkpoint_step(which)
        if which != "mean":
            return self.load_step(step, like)
        steps = self.checkpoints.steps()[-count:]
        total = self.load_step(steps[0], like)
        for step in steps[1:]:
            total = jax.tree.map(jnp.add, total, self.load_step(step, like))
        return jax.tree.map(lambda x: x / len(steps), total)

    def load_step(self, step: int, like: Params | None = None) -> Params:
        """Loads the parameters of the checkpoint of a step.

        Raises:
          UserError: if it is damaged, or belongs to another config.
        """
        if damage := self.checkpoints.find_damage(step):
            others = [s for s in self.checkpoints.steps() if s != step]
            hint = f"; the run also has steps {others}" if others else ""
            raise UserError(
                f"checkpoint {self.checkpoints.path(step)}: damaged, {damage} "
                f"(copy it back, or train again{hint})"
            )
        self.check_config(step)
        return self.checkpoints.load_params(step, like)

    def checkpoint_step(self, which: str = "best") -> int:
        """Finds the step of a checkpoint; for "mean" it is that of the last.

        Raises:
          UserError: if there is none.
        """
        if which not in ("best", "last", "mean"):
            raise UserError(f"which: expected best, last or mean, got {which}")
        steps = self.checkpoints.steps()
        if not steps:
            raise UserError(
                f"{self.folder}: expected a checkpoint in this run, got none (it "
                f"stopped before it saved one: resume it, or train again)"
            )
        step = self._best_step() if which == "best" else steps[-1]
        if step is None:
            return steps[-1]
        if step not in steps:
            raise UserError(
                f"checkpoint {self.checkpoints.path(step)}: expected the best one of "
                f"this run, got no such folder (use the last one, or train again)"
            )
        return step

    def _best_step(self) -> int | None:
        for step in reversed(self.checkpoints.steps()):
            if self.checkpoints.find_damage(step) is None:
                metric, direction = self.checkpoints.manifest(step)["best"]
                return best_step(self.metrics(), f"validation/{metric}", direction)
        return None

    def check_config(self, step: int) -> None:
        """Checks that an intact checkpoint was saved by a run with this config.

        Raises:
          UserError: naming the fields that differ.
        """
        saved = immutable_fields(
            self.checkpoints.manifest(step)["config"], self.mutable_fields
        )
        current = flatten_fields(self.config)
        wrong = differences(saved, {k: v for k, v in current.items() if k in saved})
        if wrong:
            raise UserError(
                f"checkpoint {self.checkpoints.path(step)}: expected the config of "
                f"this run, got another: {'; '.join(wrong)} (copy back the checkpoints "
                f"of this run)"
            )

    def newest_intact_step(self) -> tuple[int, list[str]]:
        """Finds the checkpoint to resume from and renames damaged ones after it.

        Returns:
          The step, 0 if the run has no checkpoint; and messages for the user.

        Raises:
          UserError: if the run has checkpoints, but none is intact.
        """
        damaged: list[int] = []
        messages: list[str] = []
        for step in reversed(self.checkpoints.steps()):
            damage = self.checkpoints.find_damage(step)
            if damage is None:
                for other in damaged:
                    self.checkpoints.rename_damaged(other)
                return step, messages
            damaged.append(step)
            messages.append(
                f"checkpoint {self.checkpoints.path(step)} is damaged ({damage}): "
                f"renamed to *.damaged; resuming from an earlier one"
            )
        if damaged:
            path = self.checkpoints.path(damaged[0])
            raise UserError(
                f"checkpoint {path}: damaged, "
                f"{self.checkpoints.find_damage(damaged[0])}, and the run has no "
                f"intact one (copy it back, or delete {self.checkpoints.folder} to "
                f"start this run over)"
            )
        return 0, messages

    def immutable_fields(self) -> dict[str, Any]:
        """Returns the part of the config that its checkpoints must agree with."""
        return immutable_fields(self.config, self.mutable_fields)

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Keeps a second process from training in the same folder.

        Yields:
          Whether it does: False where the file system offers no locks.

        Raises:
          UserError: if another process is training there, or nothing can be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                held = stack.enter_context(lock(self.folder / ".lock", wait=False))
            except BlockingIOError:
                raise UserError(
                    f"{self.folder}: another process is training in this folder "
                    f"(wait for it, stop it, or name another folder)"
                ) from None
            except OSError as error:
                raise cannot_write(self.folder, error) from error
            yield held
