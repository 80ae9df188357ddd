"""What every data set of pen strokes gives, and how it is stored."""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from experiments.datasets.data_dir import fingerprint_content
from experiments.datasets.strokes.lines import Line, check_line
from experiments.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrokeDataset:
    """Lines of pen strokes, read from a prepared data set."""

    splits: ClassVar[tuple[str, ...]] = SPLITS

    data_dir: Path | None = None
    """Folder of the prepared data. None: $ATTNJAX_DATA_DIR, or else the user's cache
    folder."""

    @abstractmethod
    def builder(self) -> Any:
        """Returns the prepared builder.

        Raises:
          UserError: if the raw data are missing or invalid.
        """

    def characters(self, lines: Sequence[Line]) -> str:
        """Returns the characters that texts are made of: those of the training lines.

        Args:
          lines: the training lines.
        """
        return "".join(sorted(set("".join(line.text for line in lines))))

    def load(self, split: str) -> list[Line]:
        """Reads the lines of a split.

        Args:
          split: train, validation or test.

        Raises:
          UserError: if the data are missing or invalid, or have no such split.
        """
        if split not in self.splits:
            raise UserError(
                f"split: expected one of {', '.join(self.splits)}, got {split!r}"
            )
        source = self.builder().as_data_source(split)
        # One call of __getitems__ lets array_record read in bulk.
        return [_line(record) for record in source.__getitems__(range(len(source)))]


def stroke_features() -> tfds.features.FeaturesDict:
    """Returns the features of every data set of strokes.

    Text is UTF-8 bytes; the arrays are the bytes of little-endian numbers.
    """
    names = ("text", "points", "characters")
    return tfds.features.FeaturesDict(dict.fromkeys(names, np.bytes_))


def stroke_records(
    lines: Iterable[Line], name: str
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Makes numbered records of lines, which are checked.

    Args:
      lines: the lines.
      name: of their source, for errors.

    Raises:
      UserError: naming the first line that is invalid.
    """
    for number, line in enumerate(lines):
        check_line(line, f"{name}, line {number + 1}")
        yield (
            number,
            {
                "text": line.text.encode(),
                "points": line.points.astype("<f4").tobytes(),
                "characters": line.characters.astype("<i4").tobytes(),
            },
        )


def _line(record: dict[str, bytes]) -> Line:
    points = np.frombuffer(record["points"], "<f4")
    return Line(
        text=record["text"].decode(),
        points=points.reshape(-1, 3),  # [N*3] -> [N, 3]
        characters=np.frombuffer(record["characters"], "<i4"),
    )


def fingerprint_lines(lines: Sequence[Line]) -> str:
    """Hashes texts and points."""
    return fingerprint_content(
        part
        for line in lines
        for part in (line.text.encode() + b"\0", line.points.astype("<f4").tobytes())
    )
