"""A folder in Hugging Face's format, which commands take in place of a run."""

import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import UserError


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
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected an object, got {type(values).__name__}")
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
