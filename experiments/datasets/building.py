"""Prepared data on disk: builds with tensorflow-datasets, atomic and never stale.

tensorflow-datasets builds in a folder named `incomplete...` and renames it at the end,
so an interrupted build is never used. The folder's name ends in a hash of the inputs:
changed files or settings get another folder.
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
    """Returns the features of every data set of sentence pairs."""
    names = ("source", "target", "alignment")
    return tfds.features.FeaturesDict({name: tfds.features.Text() for name in names})


class DatasetInfo(tfds.core.DatasetInfo):
    """What tensorflow-datasets keeps beside the data; nothing is asked of a network."""

    def initialize_from_bucket(self) -> None:
        """Does nothing: these data sets are in no public bucket.

        The original makes a temporary folder at every construction, and leaves it.
        """


LEFT_OUT = "left_out"  # entry of the metadata: a sentence about pairs that were dropped


def build(
    builder: type[tfds.core.GeneratorBasedBuilder],
    config: tfds.core.BuilderConfig,
    data_dir: Path | None = None,
) -> Any:
    """Returns a prepared builder; builds the data set on first use.

    One process builds; others that need the same data wait for it.

    Args:
      builder: the builder's class.
      config: its configuration; the name ends in a hash of the inputs.
      data_dir: folder of prepared data; `data_dir.default_data_dir()` if None.

    Returns:
      The builder, ready for `as_data_source(split)`.

    Raises:
      UserError: if the folder cannot be written, or the builder raises it.
    """
    data_dir = resolve_data_dir(data_dir)
    with folder_errors(data_dir), _quiet():
        data_dir.mkdir(parents=True, exist_ok=True)
        prepared = _make(builder, config, data_dir)
        if prepared.is_prepared():
            return prepared
        with lock(data_dir / f".{prepared.name}-{config.name}.lock"):
            _remove_partial_builds(Path(prepared.data_path))
            prepared.download_and_prepare()
        # Another process may have built it while this one waited for the lock, and a
        # builder reads what is on disk only when it is constructed.
        return _make(builder, config, data_dir)


def is_built(
    builder: type[tfds.core.GeneratorBasedBuilder],
    config: tfds.core.BuilderConfig,
    data_dir: Path | None = None,
) -> bool:
    """Tells whether `build` would find the data prepared; writes nothing.

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


def _remove_partial_builds(data_path: Path) -> None:
    """Removes what killed builds of these data left; the caller holds their lock."""
    for left in data_path.parent.glob(f"incomplete.*_{data_path.name}"):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the progress bars, prints and log lines of tensorflow-datasets."""
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl_logging.set_verbosity(verbosity)
