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

    Each split is two line-aligned files, or one file of source, tab, target.
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

    def builder(self) -> Any:
        """See `PairDataset`."""
        files = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        held_out = {"validation": self.held_out_validation, "test": self.held_out_test}
        settings = config(files, held_out, drop_empty=self.drop_empty)
        return building.build(Builder, settings, self.data_dir)


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """The files of each split.

    Attributes:
      files: the files of each split: two line-aligned ones, or one of two columns.
      held_out: number of training pairs to hold out for each split.
      drop_empty: whether pairs with an empty side are dropped.
    """

    files: Mapping[str, tuple[Path, ...]]
    held_out: Mapping[str, int]
    drop_empty: bool = False


def config(
    files: Mapping[str, Sequence[Path]],
    held_out: Mapping[str, int],
    *,
    drop_empty: bool = False,
) -> Config:
    """Makes the configuration of some files; its name depends on their contents.

    Args:
      files: the files of each split; "train" must have some.
      held_out: number of training pairs to hold out for each split.
      drop_empty: whether pairs with an empty side are dropped.

    Returns:
      The configuration.

    Raises:
      UserError: if files are missing or empty, or a split has both files and a count.
    """
    found = {
        split: tuple(path.expanduser().resolve() for path in paths)
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
        [shapes, sorted(counts.items()), drop_empty],
        [path for paths in found.values() for path in paths],
    )
    return Config(name=name, files=found, held_out=counts, drop_empty=drop_empty)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds a data set of pairs from files of text."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Whitespace at the ends of lines is stripped."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=building.pair_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        settings = self.builder_config
        sources = {split: self._read(split) for split in settings.files}
        if settings.held_out:
            lines = held_out_lines(
                sum(1 for _ in self._read("train")), settings.held_out
            )
            taken = set().union(*lines.values())
            # By sentence, not by line: the text may hold a sentence more than once.
            hidden = {
                pair[0] for i, pair in enumerate(self._read("train")) if i in taken
            }
            sources["train"] = (p for p in self._read("train") if p[0] not in hidden)
            for split, numbers in lines.items():
                sources[split] = _select(self._read("train"), numbers)
        return {split: self._generate_examples(p) for split, p in sources.items()}

    def _read(self, split: str) -> Iterator[tuple[str, str]]:
        settings = self.builder_config
        return text_files.read_pairs(
            settings.files[split], drop_empty=settings.drop_empty
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
