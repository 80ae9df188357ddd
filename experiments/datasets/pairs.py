"""Every data set of sentence pairs, by its settings.

Each is a frozen dataclass with `.splits` and `.load(split)`; a command line makes
its flags from the fields.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grain

from experiments.datasets import building
from experiments.errors import UserError


class Pair(NamedTuple):
    """A sentence and its translation.

    Attributes:
      source: text in the source language.
      target: text in the target language.
      alignment: gold links over whitespace words, Pharaoh format; "" where none.
    """

    source: str
    target: str
    alignment: str = ""


class PairDataset(Protocol):
    """A data set that can be loaded split by split."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, "train" and "validation" among them."""

    def load(self, split: str) -> grain.MapDataset[Pair]:
        """Opens a split: random access, in the order of the files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multi30k:
    """Image captions in English, German, French and Czech."""

    pair: str = "en-de"
    """Source and target language: two of en, de, fr, cs."""
    raw_dir: Path | None = None
    """Folder with train.en.gz and the others; downloaded if not given."""
    data_dir: Path | None = None
    """Where prepared data are kept (default: $ATTNJAX_DATA_DIR or the user's cache)."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that both languages have."""
        return split_names(self._builder())

    def load(self, split: str) -> grain.MapDataset[Pair]:
        """Opens a split, building it on first use."""
        return open_split(self._builder(), split)

    def _builder(self) -> Any:
        from experiments.datasets.multi30k import multi30k_builder as multi30k

        config = multi30k.config(self.pair, self.raw_dir)
        return building.build(multi30k.Builder, config, self.data_dir)


def load_pairs(dataset: PairDataset, split: str) -> grain.MapDataset[Pair]:
    """Opens a split of a data set.

    Args:
      dataset: settings of the data set.
      split: one of `dataset.splits`.

    Returns:
      Random access to the split's pairs.

    Raises:
      UserError: if there is no such split, or the data are missing or at fault.
    """
    return dataset.load(split)


def read_all(pairs: grain.MapDataset[Pair]) -> list[Pair]:
    """Reads a whole split into memory, many records at a time."""
    chunks: Iterable[list[Pair]] = pairs.batch(1024, batch_fn=list)
    return [pair for chunk in chunks for pair in chunk]


def split_names(builder: Any) -> tuple[str, ...]:
    """The splits of a prepared builder."""
    return tuple(builder.info.splits)


def open_split(builder: Any, split: str) -> grain.MapDataset[Pair]:
    """Opens one split of a prepared builder of pairs.

    Raises:
      UserError: if the builder has no such split.
    """
    if split not in split_names(builder):
        raise UserError(
            f"split: expected one of {', '.join(split_names(builder))}, got {split!r}"
        )
    return grain.MapDataset.source(builder.as_data_source(split)).map(_to_pair)


def _to_pair(record: dict[str, bytes]) -> Pair:
    return Pair(*(record[name].decode() for name in Pair._fields))
