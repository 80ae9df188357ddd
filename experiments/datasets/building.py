"""Prepared data on disk: one folder per data set and content, whole or absent.

tensorflow-datasets writes a build into a folder named `incomplete...` and renames
it when all is written, so a build that was stopped is never taken for a whole one.
The folder's name ends in a fingerprint of what was read: changed files or settings
get another folder, and stale data cannot come back.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging as absl_logging

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


def fingerprint(parts: Iterable[object], files: Iterable[Path] = ()) -> str:
    """Hashes settings and the bytes of files to twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode() + b"\0")
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def pair_features() -> tfds.features.FeaturesDict:
    """The features of every data set of sentence pairs."""
    names = ("source", "target", "alignment")
    return tfds.features.FeaturesDict({name: tfds.features.Text() for name in names})


def build(
    builder: type[tfds.core.GeneratorBasedBuilder],
    config: tfds.core.BuilderConfig,
    data_dir: Path | None = None,
) -> Any:
    """Gives a prepared builder, building it first where that was not done yet.

    One process builds, others that ask for the same data wait for it.

    Args:
      builder: the builder's class.
      config: its configuration; the name ends in a fingerprint of the content.
      data_dir: where prepared data are kept; `default_data_dir()` if None.

    Returns:
      The builder, ready for `as_data_source(split)`.

    Raises:
      UserError: if the folder cannot be written, or whatever the builder raises.
    """
    data_dir = (data_dir or default_data_dir()).expanduser().resolve()
    with _folder_errors(data_dir), _quiet():
        data_dir.mkdir(parents=True, exist_ok=True)
        made = builder(data_dir=data_dir, config=config, file_format="array_record")
        if made.is_prepared():
            return made
        with _lock(data_dir / f".{made.name}-{config.name}.lock"):
            _sweep(Path(made.data_path))
            made.download_and_prepare()
        # Made again, since another process may have built it while this one waited.
        return builder(data_dir=data_dir, config=config, file_format="array_record")


def _sweep(data_path: Path) -> None:
    """Removes what killed builds of this very data left behind."""
    for left in data_path.parent.glob(f"incomplete.*_{data_path.name}"):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds a lock that the system drops when its process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _folder_errors(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"data_dir: cannot keep prepared data in {data_dir}: {error} (choose "
            f"another folder with --data-dir or ${DATA_DIR_VARIABLE})"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences tensorflow-datasets' progress bars, prints and notices."""
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl_logging.set_verbosity(verbosity)
