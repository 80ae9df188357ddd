"""Checkpoints: the arrays of a run at some steps, complete or not there at all.

    checkpoints/00001000/arrays/      written by Orbax: nested dicts of arrays
    checkpoints/00001000/manifest.json  step, notes, shapes, and a checksum of each file

A checkpoint is written under another name and renamed when all of it is on disk, so
a process that is killed never leaves half of one under this name. What happens to
the files later (a full disk while copying, a bad sector) shows in the checksums
before any array is read.
"""

import contextlib
import json
import os
import shutil
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from attnjax.train import TrainState
from experiments.errors import UserError
from experiments.runs.processes import on_main
from experiments.runs.trees import fill, name_leaves, nest, unflatten

_MANIFEST = "manifest.json"
_ARRAYS = "arrays"
_TEMPORARY = ".tmp-"
_BROKEN = ".broken"

# Orbax numbers what it does by one counter of the process, and waits for ever, or for
# files that are not there, once two threads save at a time.
_ONE_AT_A_TIME = threading.Lock()


class Checkpoints:
    """The checkpoints of one run, by step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Lists the steps of the checkpoints, sound or not, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit())

    def path(self, step: int) -> Path:
        """Names the folder of a checkpoint."""
        return self.folder / f"{step:08d}"

    def _temporary(self, step: int) -> Path:
        return self.folder / f"{_TEMPORARY}{step:08d}"

    def sweep(self) -> None:
        """Deletes what a killed process left half written; called by all processes."""

        def delete() -> None:
            for leftover in self.folder.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(leftover)

        on_main(delete)

    def save(self, state: TrainState, notes: Mapping[str, Any]) -> int:
        """Writes a checkpoint of a state; called by all processes.

        Args:
          state: the train state.
          notes: what JSON can hold, to be read back with `manifest`.

        Returns:
          Its step.
        """
        step = int(state.step)
        saving = self._temporary(step)
        on_main(lambda: _make_empty(saving))
        trees = _to_trees(state)
        arrays = ocp.args.Composite(
            **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        )
        with _orbax() as orbax:
            orbax.save((saving / _ARRAYS).absolute(), args=arrays)
        on_main(lambda: self._complete(saving, step, trees, notes))
        return step

    def _complete(
        self, saving: Path, step: int, trees: PyTree, notes: Mapping[str, Any]
    ) -> None:
        manifest = {
            "step": step,
            **notes,
            "shapes": {
                name: [str(leaf.dtype), list(leaf.shape)]
                for name, leaf in name_leaves(trees).items()
            },
            "files": {
                file.relative_to(saving).as_posix(): _checksum(file)
                for file in _files(saving)
            },
        }
        (saving / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        target = self.path(step)
        if target.exists():  # the same step of a run that was wound back
            shutil.rmtree(target)
        os.replace(saving, target)

    def manifest(self, step: int) -> dict[str, Any]:
        """Reads what was noted beside the arrays."""
        return json.loads((self.path(step) / _MANIFEST).read_text())

    def problem(self, step: int) -> str | None:
        """Says what is wrong with a checkpoint; None if it is sound."""
        folder = self.path(step)
        try:
            files = self.manifest(step)["files"]
        except FileNotFoundError:
            return f"{_MANIFEST} is missing"
        except (ValueError, KeyError, OSError) as e:
            return f"{_MANIFEST} cannot be read: {e}"
        for name, (size, checksum) in files.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} of {size} bytes"
            if _checksum(file) != [size, checksum]:
                return f"{name} has other bytes than were written"
        return None

    def set_aside(self, step: int) -> Path:
        """Renames a broken checkpoint, so that its step can be taken again."""
        target = self.path(step).with_suffix(_BROKEN)
        if target.exists():
            shutil.rmtree(target)
        return self.path(step).rename(target)

    def keep(self, steps: set[int]) -> None:
        """Deletes all checkpoints but these; called by all processes."""

        def delete() -> None:
            for step in self.steps():
                if step not in steps:
                    # Renamed first: a folder half deleted must not look like one.
                    shutil.rmtree(self.path(step).rename(self._temporary(step)))

        on_main(delete)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Reads a whole state.

        Args:
          step: of a sound checkpoint.
          like: a state with the same shapes, placed where the arrays shall go.

        Raises:
          UserError: if the shapes are not those of the checkpoint.
        """
        trees = self._read(step, _to_trees(like))
        optimizer = trees["optimizer"]
        return TrainState(
            optimizer["step"],
            fill(like.params, trees["params"]),
            fill(like.opt_state, optimizer.get("opt_state", {})),
            None if like.ema is None else fill(like.ema, trees["ema"]),
        )

    def load_params(self, step: int, like: PyTree | None = None) -> PyTree:
        """Reads the parameters alone: their running mean, if one was kept.

        Args:
          step: of a sound checkpoint.
          like: parameters with the same shapes, placed where the arrays shall go; by
            default the result is a nested dict on the default device.

        Raises:
          UserError: if the shapes are not those of the checkpoint.
        """
        shapes = self.manifest(step)["shapes"]
        kept = {name.partition("/")[0] for name in shapes}
        part = "ema" if "ema" in kept else "params"
        if like is not None:
            tree = self._read(step, {part: nest(like)})
            return fill(like, tree[part])
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        by_path = {
            tuple(name.split("/")): jax.ShapeDtypeStruct(
                tuple(shape), jnp.dtype(dtype), sharding=here
            )
            for name, (dtype, shape) in shapes.items()
            if name.startswith(f"{part}/")
        }
        return self._read(step, unflatten(by_path))[part]

    def _read(self, step: int, like: Mapping[str, PyTree]) -> dict[str, PyTree]:
        self._check_shapes(step, like)
        wanted = {
            name: ocp.args.StandardRestore(jax.tree.map(_abstract, tree))
            for name, tree in like.items()
        }
        path = (self.path(step) / _ARRAYS).absolute()
        with _orbax() as orbax:
            restored = orbax.restore(path, args=ocp.args.Composite(**wanted))
        return {name: restored[name] for name in like}

    def _check_shapes(self, step: int, like: Mapping[str, PyTree]) -> None:
        stored = {
            name: (dtype, tuple(shape))
            for name, (dtype, shape) in self.manifest(step)["shapes"].items()
            if name.split("/")[0] in like
        }
        ours = {k: (str(x.dtype), tuple(x.shape)) for k, x in name_leaves(like).items()}
        wrong = [
            f"{name} is {_say(stored.get(name))} there, {_say(ours.get(name))} here"
            for name in [*ours, *(n for n in stored if n not in ours)]
            if stored.get(name) != ours.get(name)
        ]
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise UserError(
                f"checkpoint {self.path(step)}: expected the arrays of this model, got "
                f"others: {'; '.join(wrong[:3])}{more} (it belongs to another model or "
                f"optimiser: use the config it was trained with)"
            )


@contextlib.contextmanager
def _orbax() -> Iterator[ocp.Checkpointer]:
    with (
        _ONE_AT_A_TIME,
        ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer,
    ):
        yield checkpointer


def _say(array: tuple[str, tuple[int, ...]] | None) -> str:
    return "absent" if array is None else f"{array[0]}{list(array[1])}"


def _to_trees(state: TrainState) -> dict[str, PyTree]:
    """Splits a state in what is needed to run the model and what to train it."""
    optimizer = {"step": state.step, "opt_state": nest(state.opt_state)}
    if not optimizer["opt_state"]:
        del optimizer["opt_state"]
    trees = {"params": nest(state.params), "optimizer": optimizer}
    if state.ema is not None:
        trees["ema"] = nest(state.ema)
    return trees


def _abstract(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _checksum(file: Path) -> list[int]:
    size, crc = 0, 0
    with file.open("rb") as f:
        while block := f.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]


def _make_empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
