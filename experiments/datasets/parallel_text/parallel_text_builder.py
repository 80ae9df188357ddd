"""Any parallel text: line-aligned files, or tab-separated columns."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from experiments.datasets import building, text_files
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.pairs.datasets import PairDataset
from experiments.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelText(PairDataset):
    """Parallel text of your own, plain or gzipped.

    Each split is two line-aligned files, or one file of tab-separated columns.
    """

    train: tuple[Path, ...]
    """Training text: two line-aligned files, or one with tab-separated columns."""
    validation: tuple[Path, ...] = ()
    """Validation text, in files like those of train (see held_out_validation)."""
    test: tuple[Path, ...] = ()
    """Test text, in files like those of train (see held_out_test)."""
    held_out_validation: int = 0
    """Number of training pairs to hold out for validation if no file is given."""
    held_out_test: int = 0
    """Number of training pairs to hold out for the test if no file is given."""
    drop_empty: bool = False
    """Whether to drop pairs with an empty side instead of stopping with an error."""
    source_column: int = 1
    """Column of the source in tab-separated files, counted from 1."""
    target_column: int | None = None
    """Column of the target in tab-separated files; None is the second, or the first if
    the source is in the second."""

    def builder(self) -> Any:
        """See `PairDataset`."""
        files = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        held_out = {"validation": self.held_out_validation, "test": self.held_out_test}
        columns = text_files.Columns.of(self.source_column, self.target_column)
        settings = config(files, held_out, columns, drop_empty=self.drop_empty)
        return building.build(Builder, settings, self.data_dir)


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """The files of each split.

    Attributes:
      files: the files of each split: two line-aligned ones, or one of two columns.
      held_out: number of training pairs to hold out for each split.
      columns: those of source and target where a split is one file.
      drop_empty: whether pairs with an empty side are dropped.
    """

    files: Mapping[str, tuple[Path, ...]]
    held_out: Mapping[str, int]
    columns: text_files.Columns = text_files.FIRST_TWO
    drop_empty: bool = False


def config(
    files: Mapping[str, Sequence[Path]],
    held_out: Mapping[str, int],
    columns: text_files.Columns = text_files.FIRST_TWO,
    *,
    drop_empty: bool = False,
) -> Config:
    """Makes the configuration of some files; its name depends on their contents.

    Args:
      files: the files of each split; "train" must have some.
      held_out: number of training pairs to hold out for each split.
      columns: those of source and target where a split is one file.
      drop_empty: whether pairs with an empty side are dropped.

    Returns:
      The configuration.

    Raises:
      UserError: if files are missing or empty, or a split has both files and a count.
    """
    found = {
        split: tuple(map(text_files.absolute, paths))
        for split, paths in files.items()
        if paths or split == "train"
    }
    counts = {split: count for split, count in held_out.items() if count}
    for split, count in counts.items():
        if split in found:
            raise UserError(
                f"{split}: expected files or a held-out count, got both "
                f"(drop --data.held-out-{split})"
            )
        if count < 0:
            raise UserError(f"held_out_{split}: expected 0 or more, got {count}")
    for split, paths in found.items():
        if len(paths) not in (1, 2):
            raise UserError(
                f"{split}: expected two line-aligned files, or one with tab-separated "
                f"columns, got {len(paths)} files"
            )
        for path in paths:
            text_files.require_file(path)
    shapes = [(split, len(paths)) for split, paths in found.items()]
    name = fingerprint(
        [shapes, sorted(counts.items()), tuple(columns), drop_empty],
        [path for paths in found.values() for path in paths],
    )
    return Config(
        name=name,
        files=found,
        held_out=counts,
        columns=columns,
        drop_empty=drop_empty,
    )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds a data set of pairs from files of text."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Whitespace at the ends of lines is stripped."}

    def _info(self) -> building.DatasetInfo:
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            features=building.pair_features(),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        settings = self.builder_config
        sources = {split: self._read(split) for split in settings.files}
        left_out = {"with an empty side": self._count_empty()}
        if settings.held_out:
            parts, repeated = self._hold_out(settings.held_out)
            sources |= parts
            left_out["whose source is held out"] = repeated
        self.info.metadata[building.LEFT_OUT] = "; ".join(
            f"{count} pairs {which}" for which, count in left_out.items() if count
        )
        return {split: self._generate_examples(p) for split, p in sources.items()}

    def _count_empty(self) -> int:
        settings = self.builder_config
        if not settings.drop_empty:
            return 0
        return sum(
            text_files.count_empty(paths, settings.columns)
            for paths in settings.files.values()
        )

    def _hold_out(
        self, counts: Mapping[str, int]
    ) -> tuple[dict[str, Iterator[tuple[str, str]]], int]:
        """Splits pairs off the training text.

        Returns:
          The pairs of each split, and the number of pairs that are in none of them.

        Raises:
          UserError: if no pair is left for training.
        """
        all_sources = [pair[0] for pair in self._read("train")]
        lines = held_out_lines(len(all_sources), counts)
        # By sentence, not by line: the text may hold a sentence more than once.
        hidden = {all_sources[i] for numbers in lines.values() for i in numbers}
        left = sum(source not in hidden for source in all_sources)
        if not left:
            raise UserError(
                f"held_out: expected training pairs whose source is in no held-out "
                f"pair, got none (the text has {len(set(all_sources))} different "
                f"sources in {len(all_sources)} pairs: hold out fewer, or name other "
                f"files)"
            )
        train = (pair for pair in self._read("train") if pair[0] not in hidden)
        parts = {
            split: _select(self._read("train"), numbers)
            for split, numbers in lines.items()
        }
        repeated = len(all_sources) - left - sum(counts.values())
        return {"train": train} | parts, repeated

    def _read(self, split: str) -> Iterator[tuple[str, str]]:
        settings = self.builder_config
        return text_files.read_pairs(
            settings.files[split],
            columns=settings.columns,
            drop_empty=settings.drop_empty,
        )

    def _generate_examples(
        self, pairs: Iterable[tuple[str, str]]
    ) -> Iterator[tuple[int, dict[str, str]]]:
        for i, (source, target) in enumerate(pairs):
            yield i, {"source": source, "target": target, "alignment": ""}


def held_out_lines(total: int, counts: Mapping[str, int]) -> dict[str, set[int]]:
    """Samples the pairs to hold out, a pure function of the arguments.

    The builder also drops training pairs whose source sentence is held out, so that no
    test sentence occurs in training.

    Args:
      total: number of pairs in the training text.
      counts: number of pairs of each split.

    Returns:
      The indices of each split's pairs; no two splits share one.

    Raises:
      UserError: if no pair is left for training.
    """
    if sum(counts.values()) >= total:
        raise UserError(
            f"held_out: expected fewer than all {total} training pairs, got "
            f"{sum(counts.values())}"
        )
    # Raw bits, not Generator.permutation: numpy guarantees that they never change.
    order = np.argsort(np.random.Philox(key=total).random_raw(total), kind="stable")
    ends = np.cumsum(list(counts.values())).tolist()
    starts = [0, *ends[:-1]]
    return {
        split: set(order[start:end].tolist())
        for split, start, end in zip(counts, starts, ends, strict=True)
    }


def _select(
    pairs: Iterable[tuple[str, str]], indices: set[int]
) -> Iterator[tuple[str, str]]:
    return (pair for i, pair in enumerate(pairs) if i in indices)
