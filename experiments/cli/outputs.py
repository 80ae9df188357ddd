"""Checks that files can be written, before the work whose result they hold."""

import tempfile
from pathlib import Path

from experiments.errors import UserError


def check_file(name: str, path: Path | None) -> None:
    """Checks that a file can be written, if one is named.

    Raises:
      UserError: if its folder does not exist or cannot be written, or it is a folder.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise UserError(
            f"{name}: expected a file in an existing folder, got {path} "
            f"(create {path.parent} first)"
        )
    if path.is_dir():
        raise UserError(f"{name}: expected a file, got the folder {path}")
    check_writable(name, path)


def check_writable(name: str, path: Path) -> None:
    """Checks that something can be written where a path is, or would be made.

    Raises:
      UserError: if it cannot.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{name}: expected a folder that can be written, got {path} "
            f"({error.strerror}: choose another one)"
        ) from error
