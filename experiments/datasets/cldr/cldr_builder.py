"""The embedded data set: phrases generated from CLDR for any pair of locales.

Texts are tokens separated by spaces (`pretokenization`), gold links count these tokens
(`links`), and splits share no value (`values`). No file is read or downloaded.
"""

import contextlib
import dataclasses
import functools
import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import babel
import grain
import tensorflow_datasets as tfds

from experiments.datasets import building
from experiments.datasets.cldr.phrases import Phrases
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.pairs import datasets as pairs
from experiments.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """One pair of locales, and the number of phrases in each split.

    Attributes:
      pair: source and target locale, Babel identifiers joined by a hyphen.
      train: number of training phrases.
      validation: number of validation phrases.
      test: number of test phrases.
      seed: seed of the sampling; a value has the same split for every seed.
    """

    pair: str
    train: int
    validation: int
    test: int
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cldr(pairs.PairDataset):
    """Dates, times, amounts and names, generated from CLDR in two languages."""

    pair: str = "en-ja"
    """Source and target locale of Babel, such as en-fr or pt_BR-zh_Hant."""
    train: int = 40_000
    """Number of training phrases."""
    validation: int = 500
    """Number of validation phrases."""
    test: int = 1_000
    """Number of test phrases; their values occur in no training phrase."""
    seed: int = 0
    """Seed of the sampling; another seed gives other phrases."""

    def builder(self) -> Any:
        """See `PairDataset`."""
        return building.build(Builder, config(self), self.data_dir)


def config(dataset: Cldr) -> Config:
    """Makes the builder's configuration; its name depends on all that decides its data.

    Raises:
      UserError: if Babel lacks a locale, or a size is not positive.
    """
    locales(dataset.pair)
    sizes = {split: getattr(dataset, split) for split in SPLITS}
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"{name}: expected at least 1 phrase, got {size}")
    parts = [dataset.seed, *sizes.values(), str(Builder.VERSION), babel.__version__]
    name = f"{dataset.pair}-{fingerprint(parts)}"
    return Config(name=name, pair=dataset.pair, seed=dataset.seed, **sizes)


def load(
    pair: str, split: str, *, data_dir: Path | None = None, **settings: int
) -> grain.MapDataset[pairs.Pair]:
    """Opens a split of a pair of locales; generates the data on first use.

    Args:
      pair: source and target locale, such as "en-ja".
      split: "train", "validation" or "test".
      data_dir: folder of prepared data; `data_dir.default_data_dir()` if None.
      **settings: sizes and seed, see `Cldr`.

    Returns:
      Random access to the split's pairs.

    Raises:
      UserError: if there is no such pair or split, or the folder cannot be written.
    """
    if split not in SPLITS:
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    return Cldr(pair=pair, data_dir=data_dir, **settings).load(split)


def generate(datasets: Iterable[Cldr]) -> None:
    """Generates the data sets that do not exist yet, in parallel.

    Each is generated in another process, because the GIL lets only one thread run.
    Errors of these processes are ignored: whoever opens the data set then generates it
    again and gets the same error, in the main process.

    Args:
      datasets: data sets with different builder configurations.

    Raises:
      UserError: if a setting is invalid, or the folder cannot be read.
    """
    missing = [
        dataset
        for dataset in datasets
        if not building.is_built(Builder, config(dataset), dataset.data_dir)
    ]
    if len(missing) < 2:
        return  # a single one is generated when it is opened
    # Not fork: it would copy the locks of JAX's threads, but not the threads.
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_generate, args=(dataset,), daemon=True)
        for dataset in missing
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _generate(dataset: Cldr) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a daemon: its parent ends it
    with contextlib.suppress(Exception):
        dataset.builder()


def locales(pair: str) -> tuple[str, str]:
    """Splits a pair into its two locales.

    Raises:
      UserError: if it is not two different locales that Babel knows.
    """
    names = tuple(pair.split("-"))
    known = set(babel.localedata.locale_identifiers())
    if len(names) != 2 or names[0] == names[1] or not known.issuperset(names):
        unknown = [name for name in names if name not in known]
        about = f" ({', '.join(unknown)}: unknown)" if unknown else ""
        plain = sorted(name for name in known if "_" not in name)
        raise UserError(
            f"pair: expected two different locales such as en-fr, got {pair!r}{about}; "
            f"the locales are {' '.join(plain)}, and with a script or territory "
            "such as zh_Hant or pt_BR"
        )
    return names[0], names[1]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Generates one pair of locales."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> building.DatasetInfo:
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://cldr.unicode.org",
            features=building.pair_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        config = self.builder_config
        phrases = _phrases(config.pair)
        for i in range(getattr(config, split)):
            source, target, alignment = phrases.pair(split, config.seed, i)
            yield i, {"source": source, "target": target, "alignment": alignment}


@functools.cache
def _phrases(pair: str) -> Phrases:
    return Phrases(*locales(pair))
