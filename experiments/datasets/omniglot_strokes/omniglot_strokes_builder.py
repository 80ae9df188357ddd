"""Omniglot's drawings of single characters as pen strokes, without a text.

Lake, Salakhutdinov & Tenenbaum 2015; simplified for sketch-rnn (MIT licence,
github.com/hardmaru/sketch-rnn-datasets). The file holds, for train, valid and test,
the strokes of all drawings, int16 [N, 3], and where each begins, int64.
"""

import dataclasses
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from experiments.datasets import building, text_files
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.strokes.datasets import (
    SPLITS,
    StrokeDataset,
    stroke_features,
    stroke_records,
)
from experiments.datasets.strokes.lines import Line
from experiments.errors import UserError

FILE = "omniglot_stroke3.npz"
NAMES = {"train": "train", "validation": "valid", "test": "test"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OmniglotStrokes(StrokeDataset):
    """Drawings of characters of fifty alphabets; they have no text."""

    raw_dir: Path | None = None
    """Folder that holds omniglot_stroke3.npz."""
    jitter: float = 0.5
    """Greatest noise that is added to each coordinate, in the file's units: without it,
    whole numbers have no bounded density."""
    seed: int = 0
    """Seed of this noise."""

    def builder(self) -> Any:
        """See `StrokeDataset`."""
        return building.build(Builder, config(self), self.data_dir)


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """One file, and its noise.

    Attributes:
      file: of the drawings.
      jitter: greatest noise.
      seed: seed of the noise.
    """

    file: Path
    jitter: float
    seed: int


def config(data: OmniglotStrokes) -> Config:
    """Makes the builder's configuration; its name depends on the file's content.

    Raises:
      UserError: if there is no such file, or a number is out of range.
    """
    if data.raw_dir is None:
        raise UserError(
            f"raw_dir: expected the folder of {FILE}, got none (name it with "
            "--data.raw-dir)"
        )
    folder = text_files.require_folder(text_files.absolute(data.raw_dir), "raw_dir")
    file = text_files.require_file(folder / FILE)
    parts = [data.jitter, data.seed, str(Builder.VERSION)]
    name = fingerprint(parts, [file])
    return Config(name=name, file=file, jitter=data.jitter, seed=data.seed)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the splits of the file."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Whole drawings, with noise."}

    def _info(self) -> building.DatasetInfo:
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://github.com/brendenlake/omniglot",
            features=stroke_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        made = self.builder_config
        try:
            with np.load(made.file) as file:
                arrays = {
                    split: (file[f"{name}_strokes"], file[f"{name}_offsets"])
                    for split, name in NAMES.items()
                }
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{made.file}: expected strokes and offsets of train, valid and test, "
                f"got: {error}"
            ) from error
        return {
            split: stroke_records(self._lines(split, *arrays[split]), made.file.name)
            for split in SPLITS
        }

    def _lines(
        self, split: str, strokes: np.ndarray, offsets: np.ndarray
    ) -> Iterator[Line]:
        made = self.builder_config
        for index, (start, end) in enumerate(itertools.pairwise(offsets)):
            points = strokes[start:end].astype(np.float32)
            if len(points) < 2:
                continue  # nothing to predict
            rng = np.random.default_rng((made.seed, SPLITS.index(split), index))
            noise = rng.uniform(-made.jitter, made.jitter, points[:, :2].shape)
            points[:, :2] += np.diff(noise, axis=0, prepend=noise[:1])
            points[0, :2], points[-1, 2] = 0, 1
            yield Line("", points, np.zeros(0, np.int32))

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError  # the generators are made by `stroke_records`
