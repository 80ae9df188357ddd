"""Atomic file writes and file locks.

Every file that a later command relies on is written here: to a hidden temporary file in
the same folder, flushed to the disk, then renamed. A killed process, a full disk or a
machine that crashes leaves the previous file in place, never half of the new one.
"""

import contextlib
import errno
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


# What flock reports on a file system that offers no locks, such as some NFS mounts.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds an exclusive lock; the system releases it when the process dies.

    Args:
      path: the lock file. It is created if it is missing, and never deleted.
      wait: whether to wait for the process that holds the lock.

    Yields:
      Whether the lock is held: False on a file system that offers none, where nothing
      keeps other processes out.

    Raises:
      BlockingIOError: if another process holds the lock and `wait` is False.
      OSError: if the lock file cannot be opened.
    """
    with path.open("w") as file:
        held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            held = False
        yield held


def user_cache() -> Path:
    """Returns the folder of this project in the user's cache.

    Raises:
      RuntimeError: if the user has no home folder.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "attnjax"
