"""Checkpoints: the train state of a run at some steps.

    checkpoints/00001000/arrays/        nested dicts of arrays (`runs.arrays`)
    checkpoints/00001000/manifest.json  metadata and checksums (`runs.manifest`)

A checkpoint is written under a temporary name and renamed when all of it is on disk, so
that a killed process never leaves half a checkpoint under its final name.
"""

# Why not Orbax's CheckpointManager (0.12.8) for retention and rename: it needs the
# metric of the best checkpoint at `save`, but here the save precedes the evaluation, so
# that an interrupted evaluation loses no training; it has no hook between the last file
# and the rename, where the checksums are taken; and it deletes in place: a kill
# left 8 of 11 files of an old step, still listed. It is no faster (65, ours 69 ms).

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from attnjax.train import TrainState
from experiments.errors import DamagedError, UserError
from experiments.files import delete, replace_durably
from experiments.runs import manifest
from experiments.runs.arrays import (
    check_room,
    check_sizes,
    restore_arrays,
    save_arrays,
)
from experiments.runs.manifest import Manifest
from experiments.runs.processes import on_main
from experiments.runs.pytrees import (
    flatten_with_names,
    from_names,
    restore_structure,
    to_nested_dict,
)

_ARRAYS = "arrays"
_TEMPORARY = ".tmp-"
_DAMAGED = ".damaged"
_STEP = re.compile("[0-9]{8,18}")


class Checkpoints:
    """The checkpoints of one run, by step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Lists the steps of all checkpoints, intact or damaged, in order."""
        if not self.folder.is_dir():
            return []
        # Only the names that `path` gives: "15" or "²" is no checkpoint of ours.
        names = [p.name for p in self.folder.iterdir() if _STEP.fullmatch(p.name)]
        return sorted(int(name) for name in names if self.path(int(name)).name == name)

    def path(self, step: int) -> Path:
        """Returns the folder of a checkpoint."""
        return self.folder / f"{step:08d}"

    def _temporary(self, step: int) -> Path:
        return self.folder / f"{_TEMPORARY}{step:08d}"

    def delete_incomplete(self) -> None:
        """Deletes what a killed process left half written; all processes call this."""

        def remove() -> None:
            for leftover in self.folder.glob(f"{_TEMPORARY}*"):
                delete(leftover)

        on_main(remove)

    def save(self, state: TrainState, metadata: Mapping[str, Any]) -> int:
        """Saves a checkpoint; all processes call this.

        Args:
          state: the train state.
          metadata: see `manifest.write_manifest`.

        Returns:
          The step of the checkpoint.

        Raises:
          UserError: if it cannot be written, above all on a full disk; the earlier
            checkpoints are as they were.
        """
        step = int(state.step)
        temporary = self._temporary(step)
        trees = _to_trees(state)
        with _write_errors(self.path(step)):
            on_main(lambda: _create_empty(temporary, trees))
            save_arrays(temporary / _ARRAYS, trees)
            on_main(lambda: self._complete(temporary, step, trees, metadata))
        return step

    def check_room(self, state: TrainState) -> None:
        """Checks that there will be room for a checkpoint; all processes call this.

        Raises:
          UserError: as `save` would.
        """
        trees = _to_trees(state)
        with _write_errors(self.path(int(state.step) + 1)):
            on_main(lambda: check_room(self.folder.parent, trees))

    def _complete(
        self, temporary: Path, step: int, trees: PyTree, metadata: Mapping[str, Any]
    ) -> None:
        manifest.write_manifest(temporary, step=step, trees=trees, metadata=metadata)
        target = self.path(step)
        delete(target)  # this step was saved before and is trained again
        replace_durably(temporary, target)

    def manifest(self, step: int) -> Manifest:
        """Reads what was saved beside the arrays of a checkpoint.

        Raises:
          DamagedError: if it cannot be read.
        """
        return manifest.read_manifest(self.path(step))

    def manifests(self) -> dict[int, Manifest]:
        """Reads the manifests of all checkpoints that have a sound one, by step."""
        found = {}
        for step in self.steps():
            try:
                found[step] = self.manifest(step)
            except DamagedError:
                continue
        return found

    def amend(self, step: int, **entries: Any) -> None:
        """Changes entries of a manifest: what is known only after the save."""
        manifest.amend_manifest(self.path(step), **entries)

    def find_damage(self, step: int) -> str | None:
        """Describes the damage of a checkpoint; None if it is intact."""
        try:
            manifest.check_files(self.path(step))
        except DamagedError as error:
            return str(error)
        return None

    def rename_damaged(self, step: int) -> Path:
        """Renames a damaged checkpoint, so that its step can be saved again."""
        target = self.path(step).with_suffix(_DAMAGED)
        delete(target)
        return self.path(step).rename(target)

    def delete_except(self, steps: set[int]) -> None:
        """Deletes all checkpoints except these; all processes call this."""

        def remove() -> None:
            for step in self.steps():
                if step not in steps:
                    # Rename first: a kill must not leave half a checkpoint.
                    delete(self.path(step).rename(self._temporary(step)))

        on_main(remove)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Restores a whole train state.

        Args:
          step: of an intact checkpoint.
          like: a state with the same shapes, whose shardings the arrays get.

        Raises:
          UserError: if the shapes differ from those in the checkpoint.
        """
        trees = self._read(step, _to_trees(like))
        optimizer = trees["optimizer"]
        return TrainState(
            optimizer["step"],
            restore_structure(like.params, trees["params"]),
            restore_structure(like.opt_state, optimizer.get("opt_state", {})),
            *(
                None if tree is None else restore_structure(tree, trees[name])
                for name, tree in (("ema", like.ema), ("carry", like.carry))
            ),
        )

    def load_params(self, step: int, like: PyTree | None = None) -> PyTree:
        """Loads the parameters alone: their EMA, if the checkpoint has one.

        Args:
          step: of an intact checkpoint.
          like: parameters with the same shapes, whose shardings the arrays get; by
            default the result is a nested dict on the default device.

        Raises:
          UserError: if the shapes differ from those in the checkpoint.
        """
        shapes = self.manifest(step)["shapes"]
        saved = {name.partition("/")[0] for name in shapes}
        part = "ema" if "ema" in saved else "params"
        if like is not None:
            tree = self._read(step, {part: to_nested_dict(like)})
            return restore_structure(like, tree[part])
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = {
            name: jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype), sharding=here)
            for name, (dtype, shape) in shapes.items()
            if name.startswith(f"{part}/")
        }
        return self._read(step, from_names(abstract))[part]

    def _read(self, step: int, like: Mapping[str, PyTree]) -> dict[str, PyTree]:
        saved = self.manifest(step)
        _check_shapes(self.path(step), saved, like)
        try:
            check_sizes(like, sum(size for size, _ in saved["files"].values()))
            return restore_arrays(self.path(step) / _ARRAYS, like)
        except (ValueError, KeyError, TypeError, OSError) as error:
            # The files are as they were written: another version of Orbax wrote them,
            # or somebody who forged their checksums.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DamagedError(
                f"checkpoint {self.path(step)}: expected arrays, got: {reason[:300]} "
                "(copy it back, or use another checkpoint)"
            ) from error


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        reason = (reason.splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"checkpoint {path}: expected to write it, got: {reason[:300]} (earlier "
            "ones are intact: make room and --resume)"
        ) from error


def _check_shapes(path: Path, saved: Manifest, like: Mapping[str, PyTree]) -> None:
    shapes = {
        name: (dtype, tuple(shape))
        for name, (dtype, shape) in saved["shapes"].items()
        if name.split("/")[0] in like
    }
    expected = {
        name: (str(leaf.dtype), tuple(leaf.shape))
        for name, leaf in flatten_with_names(like).items()
    }
    wrong = [
        f"{name} is {_describe(shapes.get(name))} in the checkpoint, "
        f"{_describe(expected.get(name))} in the model"
        for name in [*expected, *(n for n in shapes if n not in expected)]
        if shapes.get(name) != expected.get(name)
    ]
    if not wrong:
        return
    reason = "it belongs to another model or optimiser: use the config it was trained"
    x64 = saved.get("versions", manifest.current_versions())["x64"]
    if x64 != manifest.current_versions()["x64"]:
        reason = f"it was trained with JAX_ENABLE_X64={int(x64)}: load it"
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise UserError(
        f"checkpoint {path}: expected the arrays of this model, got others: "
        f"{'; '.join(wrong[:3])}{more} ({reason} with)"
    )


def _describe(array: tuple[str, tuple[int, ...]] | None) -> str:
    return "absent" if array is None else f"{array[0]}{list(array[1])}"


def _to_trees(state: TrainState) -> dict[str, PyTree]:
    """Splits a state, so that the parameters can be loaded without the optimiser."""
    optimizer = {"step": state.step, "opt_state": to_nested_dict(state.opt_state)}
    if not optimizer["opt_state"]:  # Orbax cannot save an empty tree
        del optimizer["opt_state"]
    trees = {"params": to_nested_dict(state.params), "optimizer": optimizer}
    for name, tree in (("ema", state.ema), ("carry", state.carry)):
        if tree is not None:
            trees[name] = to_nested_dict(tree)
    return trees


def _create_empty(folder: Path, trees: PyTree) -> None:
    """Creates the folder of a checkpoint; an OSError says that there is no room."""
    delete(folder)
    folder.mkdir(parents=True)
    check_room(folder, trees)
