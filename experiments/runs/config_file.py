"""The file config.json in the folder of a run: written, read, compared."""

import json
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.runs.config_json import differences, flatten_fields
from experiments.runs.json_file import read_json
from experiments.runs.paths import cannot_write, check_writable

_CONFIG = "config.json"


def check_folder(
    folder: Path, config: Any, *, resume: bool, mutable_fields: tuple[str, ...]
) -> None:
    """Checks that a folder can hold a run with this config.

    Raises:
      UserError: if the folder holds other files, another run, or a run while `resume`
        is False; if nothing can be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: expected a folder, got a file (name another one)")
    entries = _entries(folder)
    if entries and not resume:
        what = "one that holds a run" if _CONFIG in entries else "one with other files"
        how = "add --resume to continue it, or " if _CONFIG in entries else ""
        raise UserError(
            f"{folder}: expected a new or empty folder, got {what} ({how}name another "
            f"folder; nothing was changed)"
        )
    if entries:
        saved = read_config(folder)
        wrong = differences(
            immutable_fields(saved, mutable_fields),
            immutable_fields(config, mutable_fields),
        )
        if wrong:
            raise UserError(
                f"{folder / _CONFIG}: expected the config with which this run was "
                f"started, got another: {'; '.join(wrong)} (resume it with its own "
                f"config, or name another folder)"
            )
    check_writable(folder)


def write_config(folder: Path, config: Any) -> None:
    """Creates the folder of a run and its config.json.

    Raises:
      UserError: if nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / _CONFIG, json.dumps(config, indent=2) + "\n")
    except OSError as error:
        raise cannot_write(folder, error) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the config of a run.

    Raises:
      UserError: if the folder has none, or it cannot be read.
    """
    path = folder / _CONFIG
    if not folder.is_dir():
        raise UserError(
            f"{folder}: expected the folder of a run, got no folder (check the path)"
        )
    try:
        config: dict[str, Any] = read_json(path, dict[str, Any])
    except FileNotFoundError:
        raise UserError(
            f"{folder}: expected the folder of a run, got one without {_CONFIG} (check "
            f"the path)"
        ) from None
    return config


def immutable_fields(config: Any, mutable_fields: tuple[str, ...]) -> dict[str, Any]:
    """Flattens a config and drops its mutable fields."""
    return {
        key: value
        for key, value in flatten_fields(config).items()
        if not any(key == name or key.startswith(f"{name}.") for name in mutable_fields)
    }


def _entries(folder: Path) -> set[str]:
    """Lists a folder without hidden files, which a killed process may have left."""
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}
