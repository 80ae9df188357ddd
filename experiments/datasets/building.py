"""Prepared data on disk: one folder per data set and content, whole or absent.

tensorflow-datasets writes a build into a folder named `incomplete...` and renames
it when all is written, so a build that was stopped is never taken for a whole one.
The folder's name ends in a fingerprint of what was read: changed files or settings
get another folder, and stale data cannot come back.
"""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging as absl_logging

from experiments.datasets.data_dir import folder_errors, resolve_data_dir
from experiments.files import lock


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
      data_dir: where prepared data are kept; `data_dir.default_data_dir()` if None.

    Returns:
      The builder, ready for `as_data_source(split)`.

    Raises:
      UserError: if the folder cannot be written, or whatever the builder raises.
    """
    data_dir = resolve_data_dir(data_dir)
    with folder_errors(data_dir), _quiet():
        data_dir.mkdir(parents=True, exist_ok=True)
        made = _make(builder, config, data_dir)
        if made.is_prepared():
            return made
        with lock(data_dir / f".{made.name}-{config.name}.lock"):
            _sweep(Path(made.data_path))
            made.download_and_prepare()
        # Made again, since another process may have built it while this one waited.
        return _make(builder, config, data_dir)


def is_built(
    builder: type[tfds.core.GeneratorBasedBuilder],
    config: tfds.core.BuilderConfig,
    data_dir: Path | None = None,
) -> bool:
    """Tells whether `build` would find the data prepared. Nothing is written.

    Raises:
      UserError: if the folder cannot be read.
    """
    data_dir = resolve_data_dir(data_dir)
    with folder_errors(data_dir), _quiet():
        return bool(_make(builder, config, data_dir).is_prepared())


def _make(
    builder: type[tfds.core.GeneratorBasedBuilder],
    config: tfds.core.BuilderConfig,
    data_dir: Path,
) -> Any:
    return builder(data_dir=data_dir, config=config, file_format="array_record")


def _sweep(data_path: Path) -> None:
    """Removes what killed builds of this very data left behind."""
    for left in data_path.parent.glob(f"incomplete.*_{data_path.name}"):
        shutil.rmtree(left, ignore_errors=True)


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
