"""Where prepared data are kept, and what they are called there.

A name ends in a fingerprint of what was read: changed files or settings get another
one, and stale data cannot come back.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from experiments.errors import UserError

DATA_DIR_VARIABLE = "ATTNJAX_DATA_DIR"


def default_data_dir() -> Path:
    """Where prepared data are kept unless the user says otherwise.

    `$ATTNJAX_DATA_DIR`, or else `attnjax/datasets` in the user's cache folder.
    """
    if DATA_DIR_VARIABLE in os.environ:
        return Path(os.environ[DATA_DIR_VARIABLE])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "attnjax" / "datasets"


def resolve_data_dir(data_dir: Path | None = None) -> Path:
    """Gives the folder in full; `default_data_dir()` if None."""
    return (data_dir or default_data_dir()).expanduser().resolve()


def fingerprint(parts: Iterable[object], files: Iterable[Path] = ()) -> str:
    """Hashes settings and the bytes of files to twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode() + b"\0")
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def folder_errors(data_dir: Path) -> Iterator[None]:
    """Says, of what the system refuses, that it is about the data folder."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"data_dir: cannot keep prepared data in {data_dir}: {error} (choose "
            f"another folder with --data-dir or ${DATA_DIR_VARIABLE})"
        ) from error
