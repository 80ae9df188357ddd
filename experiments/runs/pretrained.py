"""A folder in Hugging Face's format, which commands take in place of a run."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.runs.json_file import parse_json


@contextlib.contextmanager
def invalid_folder() -> Iterator[None]:
    """Turns the errors of `attnjax.pretrained` into a `UserError`."""
    try:
        yield
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"pretrained: {error}") from error


def read_settings(folder: Path) -> dict[str, Any]:
    """Reads config.json, and over it generation_config.json if there is one.

    Raises:
      UserError: if there is no config.json, or either is damaged.
    """
    values: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        if path.is_file():
            values |= read_json(path)
        elif name == "config.json":
            raise UserError(
                f"pretrained: expected a folder with config.json, got {folder} (name "
                "the folder that save_pretrained wrote)"
            )
    return values


def read_json(path: Path) -> dict[str, Any]:
    """Reads an object from a file.

    Raises:
      UserError: if the file holds none.
    """
    try:
        # Not `json_file.read_json`: in Hugging Face's cache the files are links.
        values: dict[str, Any] = parse_json(path.read_bytes(), dict[str, Any])
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected JSON, got {error}") from error
    return values


def import_package(name: str) -> Any:
    """Imports a package of the extra `pretrained`.

    Raises:
      UserError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"pretrained: expected the package {name}, which is not installed (run pip "
            'install -e ".[pretrained]")'
        ) from error


def check_source(
    run: Path | None, pretrained: Path | None, checkpoint: str = "best"
) -> None:
    """Checks that a command is given a run or a pretrained folder, and not both.

    Raises:
      UserError: if it is given both, or neither, or a checkpoint of the folder.
    """
    if (run is None) == (pretrained is None):
        got = "neither" if run is None else "both"
        raise UserError(
            f"run: expected the folder of a run, or --pretrained FOLDER, got {got}"
        )
    if pretrained is not None and checkpoint != "best":
        raise UserError(
            f"checkpoint: expected none with --pretrained, got {checkpoint} (the "
            "folder holds one model)"
        )
