"""Generated lines of writing: the text and the character at each pen point are known.

No file is read or downloaded: each letter is a few curves (`glyphs`), and every line
has a slant, a size, a spacing and a tremor of its own (`pen`).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from experiments.datasets import building
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.pen_traces.glyphs import glyphs
from experiments.datasets.pen_traces.pen import draw_writer, write_line
from experiments.datasets.pen_traces.words import SPLITS, draw_text
from experiments.datasets.strokes.datasets import (
    StrokeDataset,
    stroke_features,
    stroke_records,
)
from experiments.datasets.strokes.lines import Line
from experiments.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PenTraces(StrokeDataset):
    """Generated lines of writing; no word of a split is in another."""

    train: int = 8_000
    """Number of training lines."""
    validation: int = 300
    """Number of validation lines."""
    test: int = 300
    """Number of test lines."""
    max_text_length: int = 18
    """Most characters of a line."""
    seed: int = 0
    """Seed of the texts and the writers."""

    def builder(self) -> Any:
        """See `StrokeDataset`."""
        return building.build(Builder, config(self), self.data_dir)

    def characters(self, lines: Sequence[Line]) -> str:
        """See `StrokeDataset`; a small training set lacks some of them."""
        return "".join(sorted([" ", *glyphs()]))


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """One set of lines.

    Attributes:
      sizes: number of lines of each split.
      max_text_length: most characters of a line.
      seed: seed of the texts and the writers.
    """

    sizes: dict[str, int]
    max_text_length: int
    seed: int


def config(data: PenTraces) -> Config:
    """Makes the builder's configuration; its name depends on all that decides its data.

    Raises:
      UserError: if a number is out of range.
    """
    sizes = {split: getattr(data, split) for split in SPLITS}
    # The shortest word of a split has a few letters.
    for name, least in {**dict.fromkeys(SPLITS, 1), "max_text_length": 8}.items():
        if getattr(data, name) < least:
            raise UserError(
                f"{name}: expected at least {least}, got {getattr(data, name)}"
            )
    parts = [data.seed, *sizes.values(), data.max_text_length, str(Builder.VERSION)]
    return Config(
        name=fingerprint(parts),
        sizes=sizes,
        max_text_length=data.max_text_length,
        seed=data.seed,
    )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Generates the lines of every split."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Letters, digits and punctuation."}

    def _info(self) -> building.DatasetInfo:
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://arxiv.org/abs/1308.0850",
            features=stroke_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {
            split: stroke_records(self._lines(split), "pen traces") for split in SPLITS
        }

    def _lines(self, split: str) -> Iterator[Line]:
        made = self.builder_config
        for index in range(made.sizes[split]):
            rng = np.random.default_rng((made.seed, SPLITS.index(split), index))
            text = draw_text(rng, split, max_length=made.max_text_length)
            yield write_line(rng, text, draw_writer(rng))

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError  # the generators are made by `stroke_records`
