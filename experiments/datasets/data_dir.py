"""The folder of prepared data, and the fingerprints in the names of its files.

A fingerprint hashes all that the data were made from, so changed files or settings get
another name, and stale data are never used.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from experiments.cli.terminal import say
from experiments.errors import UserError
from experiments.files import user_cache

Dataset = TypeVar("Dataset")

DATA_DIR_VARIABLE = "ATTNJAX_DATA_DIR"


def default_data_dir() -> Path:
    """Returns the folder of prepared data when the user names none.

    `$ATTNJAX_DATA_DIR`, or else `attnjax/datasets` in the user's cache folder.
    """
    if os.environ.get(DATA_DIR_VARIABLE):
        return Path(os.environ[DATA_DIR_VARIABLE])
    return user_cache() / "datasets"


def resolve_data_dir(data_dir: Path | None = None) -> Path:
    """Returns the absolute folder; that of `default_data_dir()` if None.

    Raises:
      UserError: if the user has no home folder, or there are too many links.
    """
    try:
        return (data_dir or default_data_dir()).expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"data_dir: expected a folder for prepared data, got none ({error}; name "
            f"one with --data.data-dir or ${DATA_DIR_VARIABLE})"
        ) from error


def fingerprint(parts: Iterable[object], files: Iterable[Path] = ()) -> str:
    """Hashes settings and the contents of files to twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode() + b"\0")  # so that "a", "b" is not "ab"
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def fingerprint_content(parts: Iterable[bytes | memoryview]) -> str:
    """Hashes content, which is concatenated, to twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:12]


def with_raw_dir(data: Dataset, raw_dir: Path | None, why: str) -> Dataset:
    """Returns the data set of a run, to be read again: maybe from another folder.

    Prepared data go where this user keeps them. The folder that the run's config names
    is somebody else's if the run is.

    Args:
      data: a dataclass; it has raw files if it has the field `raw_dir`.
      raw_dir: the folder; None leaves the data where they are.
      why: completes the error, such as "this run's words are made up".

    Raises:
      UserError: if the data set has no raw files.
    """
    if getattr(data, "data_dir", None) is not None:
        named, own = (resolve_data_dir(x) for x in (data.data_dir, None))  # type: ignore[attr-defined]
        if named != own:
            say(
                f"preparing data in {own} (to use those in {named}, which the run's "
                f"config names, set ${DATA_DIR_VARIABLE})"
            )
        data = dataclasses.replace(data, data_dir=None)  # type: ignore[type-var]
    if raw_dir is None:
        return data
    if not hasattr(data, "raw_dir"):
        raise UserError(f"raw_dir: expected none ({why})")
    return dataclasses.replace(data, raw_dir=raw_dir)  # type: ignore[type-var]


@contextlib.contextmanager
def folder_errors(data_dir: Path) -> Iterator[None]:
    """Turns an OSError about the data folder into a UserError that names it."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"data_dir: expected a folder that can be read and written, got {data_dir} "
            f"({error}; choose another one with --data.data-dir or "
            f"${DATA_DIR_VARIABLE})"
        ) from error
