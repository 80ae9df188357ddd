"""Paths inside the folder of a run: what is read or written there stays there."""

import tempfile
from pathlib import Path

from experiments.errors import DamagedError, UserError


def inside(folder: Path, name: str) -> Path:
    """Returns the path of a name below a folder.

    Args:
      folder: may itself be a link, since the user has named it.
      name: a relative path with `/`.

    Raises:
      DamagedError: if the name leads out of the folder: it is absolute, has a `..`, or
        a part of it is a symbolic link.
    """
    parts = name.split("/")
    if "\0" in name or not {"", ".", ".."}.isdisjoint(parts):
        raise DamagedError(f"{folder}: expected a file in it, got the name {name!r}")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise DamagedError(
                f"{path}: expected a file or a folder, got a symbolic link, which is "
                "not followed (put there what it names)"
            )
    return path


def output_path(folder: Path, name: str) -> Path:
    """Returns the path of a file that will be written into the folder of a run.

    Call it before the work whose result is written. Nothing is written yet.

    Raises:
      UserError: if it cannot be written.
    """
    path = inside(folder, name)
    if path.is_dir():
        raise UserError(f"{path}: expected a file, got a folder (move it away)")
    check_writable(path.parent)
    return path


def check_writable(folder: Path) -> None:
    """Checks that files can be written in a folder, or that it can be made.

    Raises:
      UserError: if not.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(path: Path, error: OSError) -> UserError:
    """Makes the error for a folder in which nothing can be written, or its file."""
    return UserError(
        f"{path}: expected a folder that can be written, got: "
        f"{error.strerror or error} (name another folder)"
    )
