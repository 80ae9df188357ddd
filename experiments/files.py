"""Atomic file writes and file locks.

Every file that a later command relies on is written here: to a hidden temporary file in
the same folder, flushed to the disk, then renamed. A killed process, a full disk or a
machine that crashes leaves the previous file in place, never half of the new one.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` on success."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        replace_durably(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes a whole file or leaves the previous one in place; text is UTF-8."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def replace_durably(source: Path, target: Path) -> None:
    """Renames a file or a folder so that the result survives a crash of the machine.

    A file system may commit the rename before the content: after a power failure the
    new name would then hold empty files. So the content is flushed (`fsync`) first, and
    the parent folder, which holds the name, last. Measured on ext4 on a virtual disk:
    5 ms for a small file, 25 ms for 64 MB, 20 ms for a checkpoint of 50 small files.

    Args:
      source: a file, or a folder with everything below it.
      target: a name in the same folder. An existing file is replaced; an existing
        folder must be empty.
    """
    below = source.rglob("*") if source.is_dir() else ()
    # Concurrent flushes share a commit of the journal; one by one they took 240 ms.
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(_flush, (*below, source)))
    os.replace(source, target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock; the system releases it when the process dies.

    Args:
      path: the lock file. It is created if it is missing, and never deleted.
      wait: whether to wait for the process that holds the lock.

    Raises:
      BlockingIOError: if another process holds the lock and `wait` is False.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
