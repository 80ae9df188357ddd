"""The folder of a training run: begun, found again, read from.

    RUN/config.json     what was asked for
    RUN/metrics.jsonl   one line a step that was logged (`experiments.runs.metrics_log`)
    RUN/tensorboard/    the same as events
    RUN/checkpoints/    the newest and the best (`experiments.runs.checkpoints`)

and whatever the caller adds: tokenisers, pictures.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp

from attnjax.train import Params
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.config_file import begin, fixed, read_config, refuse
from experiments.runs.config_json import differences, flatten, from_plain, to_plain
from experiments.errors import UserError
from experiments.files import lock
from experiments.runs.metrics_log import best_step, quiet_third_party, read_metrics
from experiments.runs.processes import on_main

T = TypeVar("T")


class Run:
    """The folder of one training run."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        quiet_third_party()
        self.folder = folder
        self.config = dict(config)  # plain, as config.json holds it
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.may_change: tuple[str, ...] = ()

    @classmethod
    def create(
        cls,
        folder: Path | str,
        config: Any,
        *,
        resume: bool = False,
        may_change: Sequence[str] = (),
    ) -> Self:
        """Makes the folder of a run, or finds it again.

        Args:
          folder: new or empty; with `resume`, also one that holds this run.
          config: dataclass or mapping of what JSON can hold.
          resume: whether to go on with a run that is there already. If none is, it
            is begun, so that one command serves for both.
          may_change: dotted fields (a prefix names all below it) in which a resumed
            run may differ from what it was begun with, such as "steps".

        Raises:
          UserError: if the folder is in use and `resume` is False, if it holds
            something else, or a run with another config.
        """
        cls.check(folder, config, resume=resume, may_change=may_change)
        folder, plain = Path(folder), to_plain(config)
        on_main(lambda: begin(folder, plain))
        run = cls(folder, plain)
        run.may_change = tuple(may_change)
        return run

    @staticmethod
    def check(
        folder: Path | str,
        config: Any,
        *,
        resume: bool = False,
        may_change: Sequence[str] = (),
    ) -> None:
        """Tells whether `create` would take a folder, before any work is done for it.

        Raises:
          UserError: as `create`. Nothing is written.
        """
        plain, free = to_plain(config), tuple(may_change)
        on_main(lambda: refuse(Path(folder), plain, resume, free))

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Finds the folder of a run, to read from it.

        Raises:
          UserError: if there is none.
        """
        folder = Path(folder)
        return cls(folder, read_config(folder))

    def config_as(self, kind: type[T]) -> T:
        """Rebuilds the config as the dataclass that it was.

        Raises:
          UserError: if the file is of another dataclass or of another version.
        """
        return from_plain(kind, self.config)

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
        """Reads the parameters of a checkpoint, or the mean of several.

        Source: Vaswani et al. 2017 (arXiv:1706.03762), section 6.1, for the mean: of
        the last 5, or 20 of the big model.

        Args:
          which: "best", "last", or "mean" for the mean of the newest. A run that was
            never validated has no best one: "best" is then the last.
          like: parameters of the same shapes, placed where the arrays shall go; by
            default the result is a nested dict of arrays on one device.
          count: how many checkpoints "mean" is of; all, if there are fewer.

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
        """Reads the parameters of the checkpoint of a step.

        Raises:
          UserError: if it is damaged, or belongs to another config.
        """
        if problem := self.checkpoints.problem(step):
            others = [s for s in self.checkpoints.steps() if s != step]
            hint = f"; there are also steps {others}" if others else ""
            raise UserError(
                f"checkpoint {self.checkpoints.path(step)}: damaged, {problem} "
                f"(copy it anew, or train again{hint})"
            )
        self.check_config(step)
        return self.checkpoints.load_params(step, like)

    def checkpoint_step(self, which: str = "best") -> int:
        """Finds the step of a checkpoint; that of the "mean" is that of the last.

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
                f"checkpoint {self.checkpoints.path(step)}: the best of this run, but "
                f"it is missing (use the last one instead, or train again)"
            )
        return step

    def _best_step(self) -> int | None:
        for step in reversed(self.checkpoints.steps()):
            if self.checkpoints.problem(step) is None:
                metric, direction = self.checkpoints.manifest(step)["best"]
                return best_step(self.metrics(), f"validation/{metric}", direction)
        return None

    def check_config(self, step: int) -> None:
        """Checks that a sound checkpoint was written by a run with this config.

        Raises:
          UserError: naming the fields that differ.
        """
        there = self.checkpoints.manifest(step)["config"]
        ours = flatten(self.config)
        wrong = differences(there, {k: v for k, v in ours.items() if k in there})
        if wrong:
            raise UserError(
                f"checkpoint {self.checkpoints.path(step)}: belongs to another config: "
                f"{'; '.join(wrong)} (put back the checkpoints of this run)"
            )

    def newest_sound_step(self) -> tuple[int, list[str]]:
        """Finds where to resume, and sets damaged checkpoints after it aside.

        Returns:
          The step, 0 if there is no checkpoint; and what the user should know.

        Raises:
          UserError: if there are checkpoints, but none is sound.
        """
        damaged: list[int] = []
        notices: list[str] = []
        for step in reversed(self.checkpoints.steps()):
            problem = self.checkpoints.problem(step)
            if problem is None:
                for other in damaged:
                    self.checkpoints.set_aside(other)
                return step, notices
            damaged.append(step)
            notices.append(
                f"checkpoint {self.checkpoints.path(step)} is damaged ({problem}): "
                f"put aside, going on from an earlier one"
            )
        if damaged:
            path = self.checkpoints.path(damaged[0])
            raise UserError(
                f"checkpoint {path}: damaged, {self.checkpoints.problem(damaged[0])}, "
                f"and there is no other one (copy it back, or delete "
                f"{self.checkpoints.folder} to start this run over)"
            )
        return 0, notices

    def fingerprint(self) -> dict[str, Any]:
        """Names what a checkpoint must agree with: the config less what may change."""
        return fixed(self.config, self.may_change)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps a second process from training in the same folder.

        Raises:
          UserError: if one does.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock(self.folder / ".lock", wait=False))
            except BlockingIOError:
                raise UserError(
                    f"{self.folder}: another process is training in this folder "
                    f"(wait for it, stop it, or name another folder)"
                ) from None
            yield
