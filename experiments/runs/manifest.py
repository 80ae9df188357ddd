"""The manifest of a checkpoint: metadata, array shapes and a checksum of every file.

It shows what happens to files after they were written: a copy onto a full disk, a bad
sector, a deleted file. It has a checksum of itself, and of the files of the run that
the arrays are useless without, such as vocabularies. It is checked before any array is
loaded.
"""

import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from experiments.errors import DamagedError
from experiments.files import write_atomic
from experiments.runs.json_file import read_json, sealed_json
from experiments.runs.paths import inside
from experiments.runs.pytrees import flatten_with_names

NAME = "manifest.json"
_ARRAYS = "arrays"

Checksum = tuple[int, int]  # size in bytes, CRC-32


class Meter(TypedDict):
    """The state of a `MetricsAccumulator`."""

    since_line: dict[str, float]
    total_tokens: float
    total_seconds: float


class Versions(TypedDict):
    """What the last bits of a training depend on besides the config."""

    jax: str
    x64: bool


class Manifest(TypedDict):
    """The entries of manifest.json."""

    step: int
    config: dict[str, Any]  # the fields that stay as they are, by dotted name
    metrics: Meter
    line: dict[str, float] | None  # of the log; with metrics once it is evaluated
    best: tuple[str, str]  # metric and direction
    shapes: dict[str, tuple[str, list[int]]]  # dtype and shape of each array
    files: dict[str, Checksum]  # in the folder of the checkpoint
    # Runs of earlier versions have no more than the above.
    best_step: NotRequired[int | None]  # of all evaluations so far
    keep_last: NotRequired[int]
    num_lines: NotRequired[int]  # of the log
    log_checksum: NotRequired[int | None]  # of these lines
    run_files: NotRequired[dict[str, Checksum]]  # in the folder of the run
    versions: NotRequired[Versions]


def current_versions() -> Versions:
    """Returns the versions of this process."""
    return {"jax": jax.__version__, "x64": bool(jax.config.jax_enable_x64)}  # type: ignore[attr-defined]


def describe_versions(manifest: Manifest) -> list[str]:
    """Says in a line that a checkpoint was saved by other versions, if it was."""
    now = current_versions()
    before = manifest.get("versions", now)
    if before == now:
        return []
    return [
        "saved with jax {jax}, x64 {x64}; now with ".format(**before)
        + "jax {jax}, x64 {x64}: the last bits of the results may differ".format(**now)
    ]


def write_manifest(
    folder: Path, *, step: int, trees: PyTree, metadata: Mapping[str, Any]
) -> None:
    """Writes the manifest of all files that are in a folder.

    Args:
      folder: of a checkpoint whose arrays are complete.
      step: of the checkpoint.
      trees: the arrays, or anything with the same names, shapes and dtypes.
      metadata: the other entries of `Manifest`.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "step": step,
        **metadata,
        "shapes": {
            name: [str(leaf.dtype), list(leaf.shape)]
            for name, leaf in flatten_with_names(trees).items()
        },
        "files": checksums(folder, (p.relative_to(folder).as_posix() for p in paths)),
        "versions": current_versions(),
    }
    write_atomic(folder / NAME, sealed_json(manifest))


def amend_manifest(folder: Path, **entries: Any) -> None:
    """Changes entries of a manifest."""
    write_atomic(folder / NAME, sealed_json({**read_manifest(folder), **entries}))


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a checkpoint.

    Raises:
      DamagedError: if it is missing, damaged, or that of another checkpoint.
    """
    if folder.is_symlink():
        raise DamagedError(f"{folder.name} is a symbolic link, which is not followed")
    try:
        manifest: Manifest = read_json(folder / NAME, Manifest, NAME)
    except FileNotFoundError:
        raise DamagedError(f"{NAME} is missing") from None
    if f"{manifest['step']:08d}" != folder.name:
        raise DamagedError(f"{NAME} is that of step {manifest['step']}")
    if (
        manifest["line"] is not None
        and manifest["line"].get("step") != manifest["step"]
    ):
        raise DamagedError(f"{NAME}: line: expected that of step {manifest['step']}")
    for name, (dtype, shape) in manifest["shapes"].items():
        try:
            jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
        except (TypeError, ValueError):
            got = f"{dtype}{shape}"[:60]
            raise DamagedError(
                f"{NAME}: {name}: expected an array, got {got}"
            ) from None
    return manifest


def check_files(folder: Path) -> None:
    """Compares the files of a checkpoint with its manifest.

    Raises:
      DamagedError: naming the first damaged file.
    """
    files = read_manifest(folder)["files"]
    # Whatever reads the arrays follows links, also those that are no file of ours.
    for parent, folders, names in os.walk(folder / _ARRAYS):
        for name in (*folders, *names):
            if (path := Path(parent, name)).is_symlink():
                where = path.relative_to(folder).as_posix()
                raise DamagedError(f"{where} is a symbolic link, which is not followed")
    compare_files(folder, files)


def compare_files(folder: Path, expected: Mapping[str, Checksum]) -> None:
    """Compares files with their checksums.

    Args:
      folder: that of the files.
      expected: size and checksum by the name of a file below the folder.

    Raises:
      DamagedError: naming the first file that differs.
    """
    for name, (size, checksum) in expected.items():
        path = inside(folder, name)
        if not path.is_file():
            raise DamagedError(f"{name} is missing")
        if path.stat().st_size != size:
            raise DamagedError(f"{name} has {path.stat().st_size} of {size} bytes")
        try:
            found = _size_and_checksum(path)
        except OSError as error:
            raise DamagedError(f"{name} cannot be read: {error.strerror}") from error
        if found != (size, checksum):
            raise DamagedError(f"{name} does not match its checksum")


def checksums(folder: Path, names: Iterable[str]) -> dict[str, Checksum]:
    """Returns size and checksum of files by their names below a folder."""
    return {name: _size_and_checksum(folder / name) for name in names}


def _size_and_checksum(path: Path) -> Checksum:
    size, crc = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return size, crc
