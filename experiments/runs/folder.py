"""The folder of a training run: created, opened, loaded from.

    RUN/config.json     the config, with the changes that a resumption may make
    RUN/data.json       fingerprints of the data (`experiments.runs.data_file`)
    RUN/metrics.jsonl   one line per logged step (`experiments.runs.metrics_log`)
    RUN/tensorboard/    the same numbers as TensorBoard events
    RUN/checkpoints/    the newest and the best (`experiments.runs.checkpoints`)

and what each experiment adds, such as tokenisers and pictures.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp

from attnjax.train import Params
from experiments.cli.checks import check_numbers
from experiments.errors import UserError
from experiments.files import lock
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.config_file import (
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
from experiments.runs.manifest import Checksum, Manifest
from experiments.runs.metrics_log import NAME, read_lines, silence_library_logs
from experiments.runs.paths import inside, output_path
from experiments.runs.processes import on_main
from experiments.runs.run_files import (
    check_run_files,
    compare_run_files,
    write_run_files,
)
from experiments.runs.selection import Selection, no_intact_one

T = TypeVar("T")


class Run:
    """The folder of one training run."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        silence_library_logs()
        self.folder = folder
        self.config = dict(config)  # as config.json holds it
        self.checkpoints = Checkpoints(inside(folder, "checkpoints"))
        self.mutable_fields: tuple[str, ...] = ()
        # What the parameters are useless without, by the name of the file.
        self.files: dict[str, Checksum] = {}
        self._selection = Selection(self.checkpoints, self.metrics)

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
        folder, plain = Path(folder), config_to_json(config)
        mutable = tuple(mutable_fields)

        def check() -> None:
            check_folder(folder, plain, resume=resume, mutable_fields=mutable)
            check_run_files(folder, Checkpoints(inside(folder, "checkpoints")))

        on_main(check)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Opens the folder of a run for reading.

        Raises:
          UserError: if the folder holds no run, or files of it are damaged.
        """
        run = cls(Path(folder), read_config(Path(folder)))
        check_run_files(run.folder, run.checkpoints)
        return run

    def write_files(
        self, save: Callable[[Path], None], fingerprints: Mapping[str, str]
    ) -> None:
        """Writes the files of the run, and has later checkpoints guard them.

        Those that a checkpoint guards stay as they are.

        Args:
          save: writes them into an empty folder.
          fingerprints: of the data.

        Raises:
          UserError: if they cannot be written.
        """
        keep = bool(self.checkpoints.steps())
        self.files = write_run_files(self.folder, save, fingerprints, keep=keep)

    def output(self, name: str) -> Path:
        """Returns the path of a file that a command will write into the folder.

        Raises:
          UserError: if nothing can be written there.
        """
        return output_path(self.folder, name)

    def config_as(self, kind: type[T]) -> T:
        """Rebuilds the config as a dataclass.

        Raises:
          UserError: naming the field that does not fit the dataclass.
        """
        try:
            config = config_from_json(kind, self.config)
            check_numbers(config)
        except (UserError, TypeError, ArithmeticError) as error:
            raise UserError(f"{self.folder}/config.json: {error}") from error
        return config

    def metrics(self) -> list[dict[str, Any]]:
        """Reads the lines of metrics.jsonl, and says so if the file is damaged."""
        return read_lines(self.folder / NAME, self.checkpoints.manifests())

    def load_params(
        self,
        which: str = "best",
        *,
        like: Params | None = None,
        count: int = 2,
    ) -> Params:
        """Loads the parameters of an intact checkpoint, or the mean over several.

        Source: Vaswani et al. 2017 (arXiv:1706.03762), section 6.1, averages the last 5
        checkpoints (20 of the big model).

        Args:
          which: see `checkpoint_step`; "mean" for the mean over the newest.
          like: parameters with the same shapes, whose shardings the arrays get; by
            default the result is a nested dict of arrays on one device.
          count: number of checkpoints in the "mean"; all, if there are fewer.

        Raises:
          UserError: if there is no such checkpoint, or it belongs to another config.
        """
        if which != "mean":
            return self.load_step(self.checkpoint_step(which), like)
        steps = self._selection.newest(count)
        total = self.load_step(steps[0], like)
        for step in steps[1:]:
            total = jax.tree.map(jnp.add, total, self.load_step(step, like))
        return jax.tree.map(lambda x: x / len(steps), total)

    def load_step(self, step: int, like: Params | None = None) -> Params:
        """Loads the parameters of the checkpoint of a step, which is intact.

        Raises:
          UserError: if it belongs to another config.
        """
        self.check_config(step)
        return self.checkpoints.load_params(step, like)

    def checkpoint_step(self, which: str = "best") -> int:
        """Finds the step of an intact checkpoint, and says what it had to leave out.

        Args:
          which: "best" in validation, which in a run that was never validated is the
            last; "last", or "mean", whose step is that of the last.

        Raises:
          UserError: if there is none, or it belongs to another config.
        """
        if which not in ("best", "last", "mean"):
            raise UserError(f"which: expected best, last or mean, got {which}")
        best = which == "best"
        step = self._selection.best() if best else self._selection.newest()[-1]
        self.check_config(step)
        return step

    def saved_keep_last(self, default: int) -> int:
        """Returns how many of the newest checkpoints "mean" is over, as last saved."""
        newest = self.checkpoints.manifest(self._selection.newest()[-1])
        return newest.get("keep_last", default)

    def check_config(self, step: int) -> None:
        """Checks that an intact checkpoint was saved with this config and these files.

        Raises:
          UserError: naming the fields that differ, or the first file.
        """
        manifest: Manifest = self.checkpoints.manifest(step)
        saved = immutable_fields(manifest["config"], self.mutable_fields)
        current = flatten_fields(self.config)
        wrong = differences(saved, {k: v for k, v in current.items() if k in saved})
        if wrong:
            raise UserError(
                f"checkpoint {self.checkpoints.path(step)}: expected the config of "
                f"this run, got another: {'; '.join(wrong)} (copy back config.json, "
                f"or the checkpoints of this run)"
            )
        compare_run_files(self.folder, manifest.get("run_files", {}))

    def newest_intact_step(self) -> tuple[int, list[str]]:
        """Finds the checkpoint to resume from, and renames all that are damaged.

        Returns:
          The step, 0 if the run has no checkpoint; and messages for the user.

        Raises:
          UserError: if the run has checkpoints, but none is intact.
        """
        damage = {s: self.checkpoints.find_damage(s) for s in self.checkpoints.steps()}
        newest = max((s for s in damage if damage[s] is None), default=0)
        damaged = [s for s in damage if damage[s] is not None]
        if damaged and not newest:
            raise no_intact_one(self.checkpoints, damaged[-1])
        messages = []
        for step in reversed(damaged):
            self.checkpoints.rename_damaged(step)
            earlier = "; resuming from an earlier one" if step > newest else ""
            messages.append(
                f"checkpoint {self.checkpoints.path(step)} is damaged "
                f"({damage[step]}): renamed to *.damaged{earlier}"
            )
        return newest, messages

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
            path = self.folder / ".lock"
            try:
                held = stack.enter_context(lock(path, wait=False))
            except BlockingIOError:
                raise UserError(
                    f"{self.folder}: another process is training in this folder "
                    f"(wait for it, stop it, or name another folder)"
                ) from None
            except OSError as error:
                raise UserError(
                    f"{path}: expected a lock file that can be written, got: "
                    f"{error.strerror or error} (delete it, or name another folder)"
                ) from error
            yield held
