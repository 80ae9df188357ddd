"""The data of a run: training pairs, evaluation splits, and BLEU's tokeniser."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.datasets.cldr.cldr_builder import Cldr
from experiments.datasets.data_dir import with_raw_dir
from experiments.datasets.pairs.datasets import Pair, read_pairs
from experiments.datasets.parallel_text.parallel_text_builder import ParallelText
from experiments.errors import UserError
from experiments.translate.config import DataConfig

Splits = dict[str, list[Pair]]


class Corpora(NamedTuple):
    """The pairs that a run is trained and validated on."""

    train: list[Pair]
    validation: list[Pair]


def load_corpora(data: DataConfig) -> Corpora:
    """Reads training and validation pairs; their first use prepares the data set.

    Raises:
      UserError: if the data are invalid, or there is no validation split.
    """
    train = read_pairs(data, "train")
    if "validation" not in data.splits:
        raise UserError(
            "data: expected pairs for validation, got none (name files with "
            "--data.validation, or take some out of the training text with "
            "--data.held-out-validation)"
        )
    return Corpora(train, read_pairs(data, "validation"))


def relocate(data: DataConfig, raw_dir: Path | None) -> DataConfig:
    """Returns a data set whose raw files are in another folder.

    Raises:
      UserError: if the data set has no raw files, or two files of different folders
        would be one.
    """
    if raw_dir is None or not isinstance(data, ParallelText):
        return with_raw_dir(data, raw_dir, "this run's data are embedded")
    data = with_raw_dir(data, None, "")
    came_from: dict[str, Path] = {}
    for path in (*data.train, *data.validation, *data.test):
        if came_from.setdefault(path.name, path) != path:
            raise UserError(
                f"raw_dir: expected files of different names, got {path} and "
                f"{came_from[path.name]} (rename one, and move both into {raw_dir})"
            )
    train, validation, test = (
        tuple(raw_dir / path.name for path in paths)
        for paths in (data.train, data.validation, data.test)
    )
    return dataclasses.replace(data, train=train, validation=validation, test=test)


def bleu_tokenizer(data: DataConfig) -> str:
    """Name of sacrebleu's tokeniser; the embedded phrases are tokenised already."""
    return "none" if isinstance(data, Cldr) else "13a"


def read_splits(data: DataConfig, names: Sequence[str] = ()) -> Splits:
    """Reads splits of a data set, by default all but the training data.

    Raises:
      UserError: if there is no such split, or the data are invalid.
    """
    available = data.splits
    for name in names:
        if name not in available:
            raise UserError(
                f"splits: expected some of {', '.join(available)}, got {name}"
            )
    chosen = names or [name for name in available if name != "train"]
    if not chosen:
        raise UserError("splits: expected a split besides train, got none in the data")
    return {name: read_pairs(data, name) for name in chosen}
