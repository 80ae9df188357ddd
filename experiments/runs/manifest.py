"""The manifest of a checkpoint: metadata, array shapes and a checksum of every file.

It shows what happens to files after they were written: a copy onto a full disk, a bad
sector, a deleted file. It is checked before any array is loaded.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from experiments.runs.pytrees import flatten_with_names

NAME = "manifest.json"


def write_manifest(
    folder: Path, *, step: int, trees: PyTree, metadata: Mapping[str, Any]
) -> None:
    """Writes the manifest of all files that are in a folder.

    Args:
      folder: of a checkpoint whose arrays are complete.
      step: of the checkpoint.
      trees: the arrays, or anything with the same names, shapes and dtypes.
      metadata: further entries; JSON must be able to hold them.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "step": step,
        **metadata,
        "shapes": {
            name: [str(leaf.dtype), list(leaf.shape)]
            for name, leaf in flatten_with_names(trees).items()
        },
        "files": {
            path.relative_to(folder).as_posix(): _size_and_checksum(path)
            for path in files
        },
    }
    (folder / NAME).write_text(json.dumps(manifest, indent=1))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a checkpoint."""
    return json.loads((folder / NAME).read_text())


def find_damage(folder: Path) -> str | None:
    """Compares the files of a checkpoint with its manifest.

    Returns:
      What is wrong with the first damaged file; None if all files are intact.
    """
    try:
        files = read_manifest(folder)["files"]
    except FileNotFoundError:
        return f"{NAME} is missing"
    except (ValueError, KeyError, OSError) as e:
        return f"{NAME} cannot be read: {e}"
    for name, (size, checksum) in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} of {size} bytes"
        if _size_and_checksum(path) != [size, checksum]:
            return f"{name} does not match its checksum"
    return None


def _size_and_checksum(path: Path) -> list[int]:
    size, crc = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]
