"""JAX's persistent compilation cache: a program is compiled once, not at every start.

It is on by default. JAX's own variables come first: `JAX_COMPILATION_CACHE_DIR` names
another folder, `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
"""

import contextlib
import dataclasses
import os
from pathlib import Path

from experiments.files import user_cache

# JAX keeps what took a second to compile; a toy model has many faster programs.
_LEAST_SECONDS = 0.1
_LARGEST = 4 << 30  # bytes; JAX's own limit needs the package filelock
_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompilationOptions:
    """The option of every command that compiles."""

    compilation_cache: bool = True
    """Keep compiled programs in the user's cache folder, so that the next start is
    faster; $JAX_COMPILATION_CACHE_DIR names another folder."""


def use_compilation_cache(wanted: bool) -> None:
    """Sets up the cache; call it before anything is compiled.

    Args:
      wanted: whether to have one. If its folder cannot be made there is none: it only
        saves time.
    """
    import jax  # imported late, so that --help does not wait for it

    if not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return  # the environment names one, or the caller
    try:
        folder = user_cache() / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return
    if not os.access(folder, os.W_OK):
        return
    delete_oldest(folder, _LARGEST)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if _VARIABLE not in os.environ:
        jax.config.update(_VARIABLE.lower(), _LEAST_SECONDS)


def delete_oldest(folder: Path, largest: int) -> None:
    """Deletes the oldest files of a folder until it is no larger than a size.

    Args:
      folder: holds files only.
      largest: size in bytes.
    """
    with contextlib.suppress(OSError):  # another process may delete the same files
        files = sorted(
            (p.stat().st_mtime, p.stat().st_size, p) for p in folder.iterdir()
        )
        size = sum(size for _, size, _ in files)
        for _, bytes_, path in files:
            if size <= largest:
                return
            path.unlink(missing_ok=True)
            size -= bytes_
