"""Multi30k, task 1: captions of Flickr30k and their translations.

Elliott, Frank, Sima'an & Specia 2016 (arXiv:1605.00459); later test sets from
Elliott et al. 2017 (arXiv:1710.07177). The text is raw: cased, not tokenised.
Its authors allow research and teaching, not commercial use.
"""

import dataclasses
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from experiments.datasets import building, text_files
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.pairs.datasets import PairDataset
from experiments.errors import UserError

COMMIT = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
URL = (
    "https://raw.githubusercontent.com/multi30k/dataset/"
    f"{COMMIT}/data/task1/raw/{{name}}.gz"
)

# Split -> stem of its files, and the languages in which it exists.
SPLITS = {
    "train": ("train", ("en", "de", "fr", "cs")),
    "validation": ("val", ("en", "de", "fr", "cs")),
    "test_2016_flickr": ("test_2016_flickr", ("en", "de", "fr", "cs")),
    "test_2017_flickr": ("test_2017_flickr", ("en", "de", "fr")),
    "test_2017_mscoco": ("test_2017_mscoco", ("en", "de", "fr")),
}
LANGUAGES = SPLITS["train"][1]
PAIRS = tuple(f"{a}-{b}" for a in LANGUAGES for b in LANGUAGES if a != b)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multi30k(PairDataset):
    """Image captions in English, German, French and Czech."""

    pair: str = "en-de"
    """Source and target language: two of en, de, fr and cs."""
    raw_dir: Path | None = None
    """Folder with train.en.gz and the other files; they are downloaded by default."""

    def builder(self) -> Any:
        """See `PairDataset`."""
        return building.build(Builder, config(self.pair, self.raw_dir), self.data_dir)


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """One direction of translation.

    Attributes:
      pair: source and target language, such as "en-de".
      raw_dir: folder with train.en.gz and the other files; None downloads them.
    """

    pair: str
    raw_dir: Path | None = None


def config(pair: str, raw_dir: Path | None = None) -> Config:
    """Makes the configuration of a pair; its name depends on the files' contents.

    Raises:
      UserError: if there is no such pair, or files are missing.
    """
    if pair not in PAIRS:
        raise UserError(
            f"pair: expected one of {', '.join(PAIRS)}, got {pair!r} (source-target)"
        )
    if raw_dir is None:
        return Config(name=f"{pair}-{COMMIT[:12]}", pair=pair)
    raw_dir = text_files.require_folder(text_files.absolute(raw_dir), "raw_dir")
    paths = [path for files in _raw_files(pair, raw_dir).values() for path in files]
    name = f"{pair}-{fingerprint([pair], paths)}"
    return Config(name=name, pair=pair, raw_dir=raw_dir)


def splits(pair: str) -> tuple[str, ...]:
    """Returns the splits that exist in both languages of a pair."""
    both = set(pair.split("-"))
    return tuple(name for name, (_, has) in SPLITS.items() if both <= set(has))


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds one direction of Multi30k."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "Whitespace stripped; no-break spaces replaced by spaces."
    }

    def _info(self) -> building.DatasetInfo:
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://github.com/multi30k/dataset",
            features=building.pair_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        pair, raw_dir = self.builder_config.pair, self.builder_config.raw_dir
        if raw_dir is not None:
            files = _raw_files(pair, raw_dir)
        else:
            files = _downloaded_files(pair, dl_manager)
        return {split: self._generate_examples(*files[split]) for split in files}

    def _generate_examples(
        self, source: Path, target: Path
    ) -> Iterator[tuple[int, dict[str, str]]]:
        for i, pair in enumerate(text_files.read_pairs([source, target])):
            one, two = (text.replace("\u00a0", " ").strip() for text in pair)
            yield i, {"source": one, "target": two, "alignment": ""}


def _raw_files(pair: str, raw_dir: Path) -> dict[str, tuple[Path, Path]]:
    """Finds the two files of each split; a test set may be absent in both languages."""
    files = {}
    for split in splits(pair):
        names = [f"{SPLITS[split][0]}.{language}" for language in pair.split("-")]
        found = [text_files.plain_or_gzip(raw_dir / name) for name in names]
        if found[0] and found[1]:
            files[split] = (found[0], found[1])
        elif any(found) or not split.startswith("test"):
            missing = [n for n, path in zip(names, found, strict=True) if not path]
            raise UserError(
                f"raw_dir: expected {' and '.join(missing)} (or with .gz), got no such "
                f"file in {raw_dir}"
            )
    return files


def _downloaded_files(pair: str, dl_manager: Any) -> dict[str, tuple[Path, Path]]:
    urls = {}
    for split in splits(pair):
        names = [f"{SPLITS[split][0]}.{language}" for language in pair.split("-")]
        urls[split] = [URL.format(name=name) for name in names]
    try:
        # Without a network, tfds would retry each file ten times and print tracebacks;
        # one request before finds that out quietly.
        urllib.request.urlopen(urls["train"][0], timeout=20).close()
        paths = dl_manager.download(urls)
    except Exception as error:  # urllib, requests and tfds raise unrelated classes
        raise UserError(
            f"raw_dir: expected to download {URL.format(name='train.en')}, got "
            f"{type(error).__name__}: {error} (without a network, point "
            "--data.raw-dir at a folder with train.en.gz, train.de.gz and the others)"
        ) from error
    return {split: (Path(a), Path(b)) for split, (a, b) in paths.items()}
