"""The interface of every data set of readings, and how it is split."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from experiments.datasets.data_dir import fingerprint_content

SPLITS = ("train", "validation", "test")
TEST_SHARE, VALIDATION_SHARE = 0.1, 0.02
Reading = tuple[str, ...]


class Entry(NamedTuple):
    """An input and its readings.

    Attributes:
      symbols: what is read: the letters of a word, or the vectors of a sound, [T, D].
      readings: the right outputs, such as the phones of each pronunciation; at least
        one, all different.
    """

    symbols: Any
    readings: tuple[Reading, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingDataset:
    """Settings of a data set of readings, which become flags of a command line."""

    splits: ClassVar[tuple[str, ...]] = SPLITS

    data_dir: Path | None = None
    """Folder of prepared data (default: $ATTNJAX_DATA_DIR or the user's cache)."""

    def load(self, split: str) -> Sequence[Entry]:
        """Reads a split, one of `splits`.

        Raises:
          UserError: if the data are missing or invalid.
        """
        raise NotImplementedError


def split_of(word: str, seed: int) -> str:
    """Tells which split a word is in: a function of word and seed, and nothing else.

    A tenth of the words tests, two hundredths validate. A word stays in its split when
    an edition adds others, and all of its readings are in that split.

    Example:
      >>> [split_of(word, 0) for word in ("attention", "aligned", "cursor")]
      ['train', 'train', 'train']
    """
    digest = hashlib.sha256(f"{seed}:{word}".encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    if share < TEST_SHARE:
        return "test"
    return "validation" if share < TEST_SHARE + VALIDATION_SHARE else "train"


def split_words(
    words: Mapping[str, tuple[Reading, ...]], seed: int
) -> dict[str, list[Entry]]:
    """Divides words, each with all of its readings, into `SPLITS`."""
    found: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for word, readings in words.items():
        found[split_of(word, seed)].append(Entry(tuple(word), readings))
    return found


def fingerprint_entries(entries: Iterable[Entry]) -> str:
    """Hashes entries, in their order."""
    return fingerprint_content(repr(tuple(entry)).encode() for entry in entries)
