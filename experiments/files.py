"""Atomic file writes, file locks, and reads that no file can make dangerous.

Every file that a later command relies on is written here: to a hidden temporary file in
the same folder, flushed to the disk, then renamed. A killed process, a full disk or a
machine that crashes leaves the previous file in place, never half of the new one.

The folder of a run may come from a stranger, so a symbolic link under a name that is
read or written here is never followed: it could lead anywhere.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` on success.

    The temporary file is there, empty, and has the suffix of `path`.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.unlink(missing_ok=True)  # what a killed process left, or a link
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        replace_durably(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_regular(path: Path, *, largest: int) -> bytes:
    """Reads a file whole, if it is a regular file and not a link to one.

    Args:
      path: of the file. A pipe or a device is not waited for.
      largest: number of bytes that it may have.

    Raises:
      OSError: if it is missing, something else or larger, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            reason = "a symbolic link, which is not followed"
            raise OSError(errno.ELOOP, reason, str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with open(descriptor, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"larger than {largest:,} bytes", str(path))
    return content


def delete(path: Path) -> None:
    """Deletes a file, a folder with all below it, or a link but not what it names."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
      OSError: if the lock file cannot be opened, or is a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(path, flags, 0o666), "r+b", buffering=0) as file:
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
