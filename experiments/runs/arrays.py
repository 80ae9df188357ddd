"""The arrays of a checkpoint: trees of JAX arrays, written and read by Orbax.

What can be known before is checked before: when a write fails inside, Orbax prints a
traceback for every array.
"""

import contextlib
import errno
import resource
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

# Orbax names its barriers and temporary folders by counters of the whole process. Two
# threads that save at the same time mix them up and deadlock or miss files.
_ORBAX_LOCK = threading.Lock()
# What Orbax writes and opens besides the arrays, generously.
_FURTHER_BYTES, _LARGEST_FURTHER_FILE, _DESCRIPTORS = 1 << 20, 1 << 16, 64
# How much arrays may be larger than their files, for `check_sizes`. Those of a trained
# model hardly compress; those that are zero do.
_COMPRESSION, _ALWAYS_FITS = 16, 64 << 20


def check_room(folder: Path, trees: PyTree) -> None:
    """Checks that there is room for arrays in a folder.

    Raises:
      OSError: if there is none on the disk, by the limit on the size of files, or in
        the table of open files.
    """
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(trees))
    needed, free = size + _FURTHER_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        reason = f"{needed:,} bytes needed, {free:,} free on the disk"
        raise OSError(errno.ENOSPC, reason)
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    needed = size + _LARGEST_FURTHER_FILE
    if limit != resource.RLIM_INFINITY and limit < needed:
        reason = f"files of {needed:,} bytes needed, ulimit -f allows {limit:,}"
        raise OSError(errno.EFBIG, reason)
    with contextlib.ExitStack() as opened:
        for _ in range(_DESCRIPTORS):
            opened.enter_context(open("/dev/null", "rb"))


def check_sizes(trees: PyTree, bytes_on_disk: int) -> None:
    """Checks that arrays can be what is in files, before memory is taken for them.

    Raises:
      ValueError: if they are far larger than the files.
    """
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(trees))
    if size > _ALWAYS_FITS + _COMPRESSION * bytes_on_disk:
        raise ValueError(f"files of {bytes_on_disk:,} bytes for {size:,} of arrays")


def save_arrays(folder: Path, trees: Mapping[str, PyTree]) -> None:
    """Writes trees of arrays by name; all processes call this.

    Raises:
      OSError, ValueError: if it cannot be written (ValueError for TensorStore).
    """
    arrays = ocp.args.Composite(
        **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    )
    with _quiet_failure(), _checkpointer() as checkpointer:
        checkpointer.save(folder.absolute(), args=arrays)


def restore_arrays(folder: Path, like: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Reads trees of arrays by name, with the shapes and shardings of `like`."""
    wanted = {
        name: ocp.args.StandardRestore(jax.tree.map(_abstract, tree))
        for name, tree in like.items()
    }
    with _quiet_failure(), _checkpointer() as checkpointer:
        restored = checkpointer.restore(
            folder.absolute(), args=ocp.args.Composite(**wanted)
        )
    return {name: restored[name] for name in like}


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    with (
        _ORBAX_LOCK,
        ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer,
    ):
        yield checkpointer


def _abstract(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


@contextlib.contextmanager
def _quiet_failure() -> Iterator[None]:
    """Keeps TensorStore's threads from printing what comes after an error.

    They go on calling an event loop that the error has closed, each with a traceback.
    """
    try:
        yield
    except Exception:
        shown = sys.excepthook

        def show(
            kind: type[BaseException],
            error: BaseException,
            trace: TracebackType | None,
        ) -> None:
            if "Event loop is closed" not in str(error):
                shown(kind, error, trace)

        sys.excepthook = show
        raise
