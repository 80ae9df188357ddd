"""Files that are whole or absent, and locks: the one place that knows how.

Every file that a later command relies on is written here. It is written under a
hidden temporary name in the same folder and renamed, so a process that is killed, or a
disk that is full, leaves what was there before.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, renamed to it if the block succeeds."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes a whole file, or leaves what was there before; text is UTF-8."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock, which the system drops when its process dies.

    Args:
      path: the lock file; it is made if it is absent, and never deleted.
      wait: whether to wait for another holder.

    Raises:
      BlockingIOError: if somebody else holds it and `wait` is False.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
