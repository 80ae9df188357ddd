"""Every data set of sentence pairs, by its settings.

Each is a frozen dataclass with `.splits` and `.load(split)`; a command line makes
its flags from the fields. `Cldr`, the embedded one, is in `cldr.cldr_builder`.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairDataset:
    """What every data set of pairs is: settings that lead to a prepared builder."""

    data_dir: Path | None = None
    """Where prepared data are kept (default: $ATTNJAX_DATA_DIR or the user's cache)."""

    def builder(self) -> Any:
        """Gives the prepared tensorflow-datasets builder, building on first use."""
        raise NotImplementedError

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.builder().info.splits)

    def load(self, split: str) -> grain.MapDataset[Pair]:
        """Opens a split: see `load_pairs`."""
        return load_pairs(self, split)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multi30k(PairDataset):
    """Image captions in English, German, French and Czech."""

    pair: str = "en-de"
    """Source and target language: two of en, de, fr, cs."""
    raw_dir: Path | None = None
    """Folder with train.en.gz and the others; downloaded if not given."""

    def builder(self) -> Any:
        """See `PairDataset`."""
        from experiments.datasets.multi30k import multi30k_builder as multi30k

        config = multi30k.config(self.pair, self.raw_dir)
        return building.build(multi30k.Builder, config, self.data_dir)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelText(PairDataset):
    """Parallel text of your own, plain or gzipped.

    Each split is two files, of which line k of one translates line k of the other,
    or one file of source, tab, target.
    """

    train: tuple[Path, ...]
    """Training text: two line-aligned files, or one with tab-separated columns."""
    validation: tuple[Path, ...] = ()
    """Validation text, likewise; or see held_out_validation."""
    test: tuple[Path, ...] = ()
    """Test text, likewise; or see held_out_test."""
    held_out_validation: int = 0
    """Pairs to take out of the training text for validation, if no file is given."""
    held_out_test: int = 0
    """Pairs to take out of the training text for the test, if no file is given."""
    drop_empty: bool = False
    """Leave out pairs of which a line is empty, rather than stop at them."""

    def builder(self) -> Any:
        """See `PairDataset`."""
        from experiments.datasets.parallel_text import parallel_text_builder as text

        files = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        held_out = {"validation": self.held_out_validation, "test": self.held_out_test}
        config = text.config(files, held_out, drop_empty=self.drop_empty)
        return building.build(text.Builder, config, self.data_dir)


def load_pairs(dataset: PairDataset, split: str) -> grain.MapDataset[Pair]:
    """Opens a split of a data set, building the data set on first use.

    Args:
      dataset: settings of the data set.
      split: one of `dataset.splits`.

    Returns:
      Random access to the split's pairs, in the order of the files.

    Raises:
      UserError: if there is no such split, or the data are missing or at fault.
    """
    return grain.MapDataset.source(_records(dataset.builder(), split)).map(_to_pair)


def read_pairs(dataset: PairDataset, split: str) -> list[Pair]:
    """Reads a whole split into memory, five times as fast as one by one.

    Raises:
      UserError: as `load_pairs`.
    """
    records = _records(dataset.builder(), split)
    return [_to_pair(record) for record in records.__getitems__(range(len(records)))]


def _records(builder: Any, split: str) -> Any:
    names = tuple(builder.info.splits)
    if split not in names:
        raise UserError(f"split: expected one of {', '.join(names)}, got {split!r}")
    return builder.as_data_source(split)


def _to_pair(record: dict[str, bytes]) -> Pair:
    return Pair(*(record[name].decode() for name in Pair._fields))
