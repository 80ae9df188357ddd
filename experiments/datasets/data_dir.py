"""The folder of prepared data, and the fingerprints in the names of its files.

A fingerprint hashes all that the data were made from, so changed files or settings get
another name, and stale data are never used.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from experiments.errors import UserError

DATA_DIR_VARIABLE = "ATTNJAX_DATA_DIR"


def default_data_dir() -> Path:
    """Returns the folder of prepared data when the user names none.

    `$ATTNJAX_DATA_DIR`, or else `attnjax/datasets` in the user's cache folder.
    """
    if DATA_DIR_VARIABLE in os.environ:
        return Path(os.environ[DATA_DIR_VARIABLE])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "attnjax" / "datasets"


def resolve_data_dir(data_dir: Path | None = None) -> Path:
    """Returns the absolute folder; that of `default_data_dir()` if None."""
    return (data_dir or default_data_dir()).expanduser().resolve()


def fingerprint(parts: Iterable[object], files: Iterable[Path] = ()) -> str:
    """Hashes settings and the contents of files to twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode() + b"\0")  # so that "a", "b" is not "ab"
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


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
