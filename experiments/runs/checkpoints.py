"""Checkpoints: the train state of a run at some steps.

    checkpoints/00001000/arrays/        nested dicts of arrays, written by Orbax
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
import errno
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from attnjax.train import TrainState
from experiments.errors import UserError
from experiments.files import replace_durably
from experiments.runs import manifest
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

# Orbax names its barriers and temporary folders by counters of the whole process. Two
# threads that save at the same time mix them up and deadlock or miss files.
_ORBAX_LOCK = threading.Lock()


class Checkpoints:
    """The checkpoints of one run, by step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Lists the steps of all checkpoints, intact or damaged, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit())

    def path(self, step: int) -> Path:
        """Returns the folder of a checkpoint."""
        return self.folder / f"{step:08d}"

    def _temporary(self, step: int) -> Path:
        return self.folder / f"{_TEMPORARY}{step:08d}"

    def delete_incomplete(self) -> None:
        """Deletes what a killed process left half written; all processes call this."""

        def delete() -> None:
            for leftover in self.folder.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(leftover)

        on_main(delete)

    def save(self, state: TrainState, metadata: Mapping[str, Any]) -> int:
        """Saves a checkpoint; all processes call this.

        Args:
          state: the train state.
          metadata: what `manifest` returns later; JSON must be able to hold it.

        Returns:
          The step of the checkpoint.

        Raises:
          UserError: if it cannot be written, above all on a full disk; the earlier
            checkpoints are as they were.
        """
        step = int(state.step)
        temporary = self._temporary(step)
        trees = _to_trees(state)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(trees))
        try:
            on_main(lambda: _create_empty(temporary, size))
            arrays = ocp.args.Composite(
                **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
            )
            with _checkpointer() as checkpointer:
                checkpointer.save((temporary / _ARRAYS).absolute(), args=arrays)
            on_main(lambda: self._complete(temporary, step, trees, metadata))
        except (
            OSError,
            ValueError,
        ) as error:  # Orbax raises ValueError for TensorStore
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"checkpoint {self.path(step)}: expected to write it, got: "
                f"{reason[:300]} (earlier ones are intact: free the disk and --resume)"
            ) from error
        return step

    def _complete(
        self, temporary: Path, step: int, trees: PyTree, metadata: Mapping[str, Any]
    ) -> None:
        manifest.write_manifest(temporary, step=step, trees=trees, metadata=metadata)
        target = self.path(step)
        if target.exists():  # this step was saved before and is trained again
            shutil.rmtree(target)
        replace_durably(temporary, target)

    def manifest(self, step: int) -> dict[str, Any]:
        """Reads the metadata that was saved with a checkpoint."""
        return manifest.read_manifest(self.path(step))

    def find_damage(self, step: int) -> str | None:
        """Describes the damage of a checkpoint; None if it is intact."""
        return manifest.find_damage(self.path(step))

    def rename_damaged(self, step: int) -> Path:
        """Renames a damaged checkpoint, so that its step can be saved again."""
        target = self.path(step).with_suffix(_DAMAGED)
        if target.exists():
            shutil.rmtree(target)
        return self.path(step).rename(target)

    def delete_except(self, steps: set[int]) -> None:
        """Deletes all checkpoints except these; all processes call this."""

        def delete() -> None:
            for step in self.steps():
                if step not in steps:
                    # Rename first: a kill must not leave half a checkpoint.
                    shutil.rmtree(self.path(step).rename(self._temporary(step)))

        on_main(delete)

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
        self._check_shapes(step, like)
        wanted = {
            name: ocp.args.StandardRestore(jax.tree.map(_abstract, tree))
            for name, tree in like.items()
        }
        path = (self.path(step) / _ARRAYS).absolute()
        with _checkpointer() as checkpointer:
            restored = checkpointer.restore(path, args=ocp.args.Composite(**wanted))
        return {name: restored[name] for name in like}

    def _check_shapes(self, step: int, like: Mapping[str, PyTree]) -> None:
        saved = {
            name: (dtype, tuple(shape))
            for name, (dtype, shape) in self.manifest(step)["shapes"].items()
            if name.split("/")[0] in like
        }
        expected = {
            name: (str(leaf.dtype), tuple(leaf.shape))
            for name, leaf in flatten_with_names(like).items()
        }
        wrong = [
            f"{name} is {_describe(saved.get(name))} in the checkpoint, "
            f"{_describe(expected.get(name))} in the model"
            for name in [*expected, *(n for n in saved if n not in expected)]
            if saved.get(name) != expected.get(name)
        ]
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise UserError(
                f"checkpoint {self.path(step)}: expected the arrays of this model, got "
                f"others: {'; '.join(wrong[:3])}{more} (it belongs to another model or "
                f"optimiser: use the config it was trained with)"
            )


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    with (
        _ORBAX_LOCK,
        ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer,
    ):
        yield checkpointer


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


def _abstract(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _create_empty(folder: Path, size: int) -> None:
    """Creates the folder of a checkpoint of so many bytes.

    Raises:
      OSError: if there is no room. Orbax would print a traceback for every array.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    if (free := shutil.disk_usage(folder).free) < size:
        raise OSError(errno.ENOSPC, f"{size:,} bytes needed, {free:,} free on the disk")
