"""The CMU Pronouncing Dictionary: 126,000 English words and how they are pronounced.

Carnegie Mellon University 1993-2015, BSD licence, github.com/cmusphinx/cmudict. It has
no official split. Here a word's split is a function of the word and a seed: see
`experiments.datasets.readings.datasets.split_of`.
"""

import dataclasses
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from experiments.datasets import building, text_files
from experiments.datasets.cmudict.lexicon import decode, parse_lexicon
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.readings.datasets import (
    SPLITS,
    Entry,
    ReadingDataset,
    split_words,
)
from experiments.errors import UserError

NAMES = ("cmudict.dict", "cmudict-0.7b", "cmudict.0.7a", "cmudict")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CMUdict(ReadingDataset):
    """The CMU Pronouncing Dictionary, letters to phones."""

    raw_dir: Path | None = None
    """Folder that holds cmudict.dict or cmudict-0.7b, plain or gzipped."""
    stress: bool = False
    """Whether vowels keep their stress (AH0, AH1, AH2), or are one phone each (AH)."""
    split_seed: int = 0
    """Seed by which words are divided into training, validation and test."""

    def load(self, split: str) -> list[Entry]:
        """See `ReadingDataset`."""
        made = config(self.raw_dir, self.stress, self.split_seed)
        builder = building.build(Builder, made, self.data_dir)
        if split not in SPLITS:
            raise UserError(
                f"split: expected one of {', '.join(SPLITS)}, got {split!r}"
            )
        source = builder.as_data_source(split)
        # One call of __getitems__ lets array_record read in bulk.
        return [_entry(record) for record in source.__getitems__(range(len(source)))]


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """One edition, with or without stress, and its split.

    Attributes:
      file: of the dictionary.
      stress: whether vowels keep their stress.
      split_seed: seed of the split.
    """

    file: Path
    stress: bool
    split_seed: int


def config(raw_dir: Path | None, stress: bool, split_seed: int) -> Config:
    """Makes the configuration; its name depends on the file's content.

    Raises:
      UserError: if there is no file of a known name.
    """
    if raw_dir is None:
        raise UserError(
            "raw_dir: expected the folder of cmudict.dict, got none (name it with "
            "--data.raw-dir; github.com/cmusphinx/cmudict has the file)"
        )
    folder = text_files.require_folder(text_files.absolute(raw_dir), "raw_dir")
    found = [text_files.plain_or_gzip(folder / name) for name in NAMES]
    file = next((path for path in found if path is not None), None)
    if file is None:
        raise UserError(
            f"raw_dir: expected one of {', '.join(NAMES)} (or with .gz), got no such "
            f"file in {folder}"
        )
    return Config(
        name=fingerprint([stress, split_seed], [file]),
        file=file,
        stress=stress,
        split_seed=split_seed,
    )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds the splits; a record is a word with its readings, one a line."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "A word is in one split with all readings."}

    def _info(self) -> building.DatasetInfo:
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://github.com/cmusphinx/cmudict",
            features=tfds.features.FeaturesDict(
                {"word": tfds.features.Text(), "readings": tfds.features.Text()}
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        made = self.builder_config
        lines = decode(_read(made.file)).split("\n")
        words = parse_lexicon(lines, str(made.file), stress=made.stress)
        splits = split_words(words, made.split_seed)
        for split, entries in splits.items():
            if not entries:
                raise UserError(
                    f"{made.file}: expected enough words for every split, got none "
                    f"for {split} among {len(words)}"
                )
        return {split: _records(entries) for split, entries in splits.items()}

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError  # the generators are made by `_records`


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: expected a whole gzip file ({error})") from error


def _records(entries: list[Entry]) -> Iterator[tuple[int, dict[str, str]]]:
    for number, entry in enumerate(entries):
        readings = "\n".join(" ".join(reading) for reading in entry.readings)
        yield number, {"word": "".join(entry.symbols), "readings": readings}


def _entry(record: dict[str, bytes]) -> Entry:
    readings = record["readings"].decode().split("\n")
    symbols = tuple(record["word"].decode())
    return Entry(symbols, tuple(tuple(reading.split()) for reading in readings))
