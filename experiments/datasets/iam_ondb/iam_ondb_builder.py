"""IAM-OnDB: lines of English written by 221 writers on a whiteboard.

Liwicki & Bunke 2005. The files are free for research after registration at
https://fki.tic.heia-fr.ch/databases/iam-on-line-handwriting-database; `format` says
which are needed. As in Graves 2013, section 4.2, the network trains on the training
set, the test set and the larger validation set, and stops by the smaller one.
"""

import dataclasses
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from experiments.datasets import building, text_files
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.iam_ondb import format as files
from experiments.datasets.strokes.datasets import (
    StrokeDataset,
    stroke_features,
    stroke_records,
)
from experiments.datasets.strokes.lines import Line
from experiments.errors import UserError

TRAIN, TEST = "trainset.txt", "testset_f.txt"
VALIDATION = ("testset_v.txt", "testset_t.txt")
OTHER = "#"  # digits and most punctuation, in the paper's 57 characters
KEPT = " .,'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class IAMOnDB(StrokeDataset):
    """Lines of English with their text; a test set is not left apart."""

    splits: ClassVar[tuple[str, ...]] = ("train", "validation")

    raw_dir: Path | None = None
    """Folder that holds lineStrokes/, ascii/ and the four lists of forms: trainset.txt,
    testset_v.txt, testset_t.txt and testset_f.txt."""
    few_characters: bool = True
    """Whether digits and all punctuation but .,' are one character, #, as the paper
    has it (57 characters in all)."""

    def builder(self) -> Any:
        """See `StrokeDataset`."""
        return building.build(Builder, config(self), self.data_dir)

    def characters(self, lines: Sequence[Line]) -> str:
        """See `StrokeDataset`; few characters are the same 57 whatever the lines."""
        if not self.few_characters:
            return super().characters(lines)
        return "".join(sorted(string.ascii_letters + KEPT + OTHER))


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """One folder.

    Attributes:
      folder: of the raw data.
      lines: file of the strokes, and text, of the lines of each split.
      few_characters: whether digits and most punctuation are one character.
    """

    lines: dict[str, list[tuple[Path, str]]]
    few_characters: bool


def config(data: IAMOnDB) -> Config:
    """Makes the builder's configuration; its name depends on the files' content.

    Raises:
      UserError: if files are missing or invalid.
    """
    if data.raw_dir is None:
        raise UserError(
            "raw_dir: expected the folder of lineStrokes/ and ascii/, got none (name "
            "it with --data.raw-dir; the data are free after registration, see "
            "https://fki.tic.heia-fr.ch/databases/iam-on-line-handwriting-database)"
        )
    folder = text_files.require_folder(text_files.absolute(data.raw_dir), "raw_dir")
    by_list = {name: _read_list(folder, name) for name in (TRAIN, TEST, *VALIDATION)}
    smaller, larger = sorted(VALIDATION, key=lambda name: len(by_list[name]))
    lines = {
        "train": by_list[TRAIN] + by_list[TEST] + by_list[larger],
        "validation": by_list[smaller],
    }
    for split, found in lines.items():
        if not found:
            raise UserError(f"{folder}: expected lines for {split}, got none")
    every = [line for split in lines.values() for line in split]
    parts = [data.few_characters, str(Builder.VERSION)]
    parts += [[text for _, text in found] for found in lines.values()]
    name = fingerprint(parts, [path for path, _ in every])
    return Config(name=name, lines=lines, few_characters=data.few_characters)


def _read_list(folder: Path, name: str) -> list[tuple[Path, str]]:
    """The lines of the forms of a list: file of the strokes, and text."""
    strokes = text_files.require_folder(folder / "lineStrokes", "raw_dir")
    found = []
    for form in files.read_forms(text_files.require_file(folder / name)):
        path = folder / "ascii" / files.form_folder(form) / f"{form}.txt"
        text, lines = files.read_text(path), files.line_files(strokes, form)
        beyond = [number for number in lines if not 1 <= number <= len(text)]
        if beyond:
            raise UserError(
                f"{lines[beyond[0]]}: expected a line from 1 to {len(text)}, of which "
                f"{path} has the text, got {beyond[0]}"
            )
        found += [(lines[number], text[number - 1]) for number in lines]
    return found


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds both splits."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Whole lines."}

    def _info(self) -> building.DatasetInfo:
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://fki.tic.heia-fr.ch/databases/iam-on-line-handwriting-database",
            features=stroke_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        made = self.builder_config
        return {
            split: stroke_records(self._lines(found), f"IAM-OnDB {split}")
            for split, found in made.lines.items()
        }

    def _lines(self, found: list[tuple[Path, str]]) -> Iterator[Line]:
        few = self.builder_config.few_characters
        for path, text in found:
            written = reduce_characters(text) if few else text
            yield Line(written, files.read_strokes(path), np.zeros(0, np.int32))

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError  # the generators are made by `stroke_records`


def reduce_characters(text: str) -> str:
    """Replaces all but English letters, blanks and .,' by #.

    Example:
      >>> reduce_characters("at 9, \\"no\\"")
      'at #, #no#'
    """
    return "".join(
        c if c in KEPT or (c.isascii() and c.isalpha()) else OTHER for c in text
    )
