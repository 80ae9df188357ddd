"""The interface of every data set of sentence pairs, and how its pairs are read.

The data sets themselves are `cldr.cldr_builder.Cldr` (embedded),
`multi30k.multi30k_builder.Multi30k` and
`parallel_text.parallel_text_builder.ParallelText`.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import grain

from experiments.datasets.building import LEFT_OUT
from experiments.datasets.data_dir import fingerprint_content
from experiments.errors import UserError


class Pair(NamedTuple):
    """A sentence and its translation.

    Attributes:
      source: text in the source language.
      target: text in the target language.
      alignment: gold links between whitespace-separated words, in Pharaoh format; ""
        where there are none.
    """

    source: str
    target: str
    alignment: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairDataset:
    """Settings of a data set of pairs. A command line makes its flags of the fields."""

    data_dir: Path | None = None
    """Folder of prepared data (default: $ATTNJAX_DATA_DIR or the user's cache)."""

    def builder(self) -> Any:
        """Returns the prepared tensorflow-datasets builder; builds it on first use."""
        raise NotImplementedError

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.builder().info.splits)

    @property
    def left_out(self) -> str:
        """Which pairs of the user's files are in no split, in words; "" if none."""
        return str((self.builder().info.metadata or {}).get(LEFT_OUT, ""))

    def load(self, split: str) -> grain.MapDataset[Pair]:
        """Opens a split: see `load_pairs`."""
        return load_pairs(self, split)


def load_pairs(dataset: PairDataset, split: str) -> grain.MapDataset[Pair]:
    """Opens a split of a data set, building the data set on first use.

    Args:
      dataset: settings of the data set.
      split: one of `dataset.splits`.

    Returns:
      Random access to the split's pairs, in the order of the files.

    Raises:
      UserError: if there is no such split, or the data are missing or invalid.
    """
    return grain.MapDataset.source(_records(dataset.builder(), split)).map(_to_pair)


def read_pairs(dataset: PairDataset, split: str) -> list[Pair]:
    """Reads a whole split into memory, five times as fast as pair by pair.

    Raises:
      UserError: as `load_pairs`.
    """
    records = _records(dataset.builder(), split)
    # One call of __getitems__ lets array_record read in bulk.
    return [_to_pair(record) for record in records.__getitems__(range(len(records)))]


def fingerprint_pairs(pairs: Iterable[Pair]) -> str:
    """Hashes the text of pairs, in their order."""
    return fingerprint_content(f"{p.source}\t{p.target}\n".encode() for p in pairs)


def _records(builder: Any, split: str) -> Any:
    names = tuple(builder.info.splits)
    if split not in names:
        raise UserError(f"split: expected one of {', '.join(names)}, got {split!r}")
    return builder.as_data_source(split)


def _to_pair(record: dict[str, bytes]) -> Pair:
    return Pair(*(record[name].decode() for name in Pair._fields))
