"""config.json in the folder of a run: written once, compared, read."""

import json
from pathlib import Path
from typing import Any

from experiments.runs.config_json import differences, flatten
from experiments.errors import UserError
from experiments.files import write_atomic

_CONFIG = "config.json"


def refuse(folder: Path, plain: Any, resume: bool, may_change: tuple[str, ...]) -> None:
    """Checks what is in a folder already, for a run that shall be there.

    Raises:
      UserError: if it holds a run and `resume` is False, another run, or other files.
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
        there = read_config(folder)
        wrong = differences(fixed(there, may_change), fixed(plain, may_change))
        if wrong:
            raise UserError(
                f"{folder}: expected the config that this run was begun with, got "
                f"another: {'; '.join(wrong)} (resume it with its own config, or name "
                f"another folder)"
            )


def begin(folder: Path, plain: Any) -> None:
    """Makes the folder of a run and its config.json.

    Raises:
      UserError: if nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / _CONFIG, json.dumps(plain, indent=2) + "\n")
    except OSError as e:
        raise UserError(f"{folder}: cannot write there: {e.strerror}") from e


def _entries(folder: Path) -> set[str]:
    """Lists what is in a folder, but for hidden files: a killed process left those."""
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the config of a run.

    Raises:
      UserError: if the folder holds none.
    """
    path = folder / _CONFIG
    if not folder.is_dir():
        raise UserError(f"{folder}: expected the folder of a run, got none there")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: expected the folder of a run, got one without {_CONFIG}"
        ) from None
    except (ValueError, OSError) as e:
        raise UserError(f"{path}: cannot be read: {e}") from e


def fixed(plain: Any, may_change: tuple[str, ...]) -> dict[str, Any]:
    """Flattens a config, less the fields that may change."""
    return {
        key: value
        for key, value in flatten(plain).items()
        if not any(key == free or key.startswith(f"{free}.") for free in may_change)
    }
