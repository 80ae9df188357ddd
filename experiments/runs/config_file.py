"""The file config.json in the folder of a run: written, read, compared."""

import json
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.runs.config_json import differences, flatten_fields

_CONFIG = "config.json"


def check_folder(
    folder: Path, config: Any, *, resume: bool, mutable_fields: tuple[str, ...]
) -> None:
    """Checks that a folder can hold a run with this config.

    Raises:
      UserError: if the folder holds other files, another run, or a run while `resume`
        is False.
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
                f"{folder}: expected the config with which this run was started, got "
                f"another: {'; '.join(wrong)} (resume it with its own config, or name "
                f"another folder)"
            )


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


def cannot_write(folder: Path, error: OSError) -> UserError:
    """Makes the error for the folder of a run in which nothing can be written."""
    return UserError(
        f"{folder}: expected a folder that can be written, got: {error.strerror} "
        f"(name another folder)"
    )


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
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: expected the folder of a run, got one without {_CONFIG} (check "
            f"the path)"
        ) from None
    except (ValueError, OSError) as e:
        raise UserError(f"{path}: cannot be read: {e} (copy it back)") from e
    if not isinstance(config, dict):
        raise UserError(
            f"{path}: expected a JSON object, got {config!r} (copy it back)"
        )
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
