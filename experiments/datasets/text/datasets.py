"""Plain-text data sets for language models, and how their lines are read.

Each data set is a frozen dataclass with `splits`; a command line makes its flags of the
fields. Every line ends with a newline, whatever the file ends its lines with.
"""

import dataclasses
import functools
import hashlib
import math
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import attnjax
from experiments.datasets.data_dir import folder_errors, resolve_data_dir
from experiments.datasets.text_files import (
    expand,
    plain_or_gzip,
    read_lines,
    require_file,
    require_folder,
)
from experiments.errors import UserError
from experiments.files import write_atomic


class Text:
    """The lines of some files, or of a range of characters, read at each iteration."""

    def __init__(
        self, paths: tuple[Path, ...], start: int = 0, stop: float = math.inf
    ) -> None:
        """Checks that the files exist, and reads nothing yet.

        Args:
          paths: UTF-8 files, plain or gzipped, concatenated in order.
          start: the first character of the range, newlines counted.
          stop: the character after the last one of the range.

        Raises:
          UserError: if a file is missing or empty.
        """
        self.paths = tuple(require_file(expand(path)) for path in paths)
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[str]:
        """Yields the lines, with their newlines; the first and last may be cut.

        Raises:
          UserError: at bytes that are not UTF-8, or a gzip file that is cut short.
        """
        seen = 0  # characters before the current line, newlines counted
        for path in self.paths:
            for line in read_lines(path):
                first, last = self.start - seen, self.stop - seen  # within the line
                if last <= 0:
                    return
                seen += len(line) + 1
                if first <= len(line):  # the newline is at index len(line)
                    whole = last > len(line)
                    yield f"{line}\n"[max(0, first) : None if whole else int(last)]

    @functools.cached_property
    def length(self) -> int:
        """Number of characters, newlines included; reads the whole text once."""
        return sum(map(len, self))

    def split(self, held_out: float) -> tuple["Text", "Text"]:
        """Splits off a share of the characters, at the end.

        Returns:
          The text before the cut, and the text after it.
        """
        cut = self.start + int(self.length * (1 - held_out))
        return Text(self.paths, self.start, cut), Text(self.paths, cut, self.stop)


class StrippedText(Text):
    """Text without the blanks at the beginning and end of each line."""

    def __iter__(self) -> Iterator[str]:
        """Yields the lines, with their newlines."""
        return (f"{line.strip()}\n" for line in super().__iter__())


Splits = dict[str, Text]  # "train", "validation", then test sets


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextDataset:
    """Settings of a data set of plain text."""

    reader: ClassVar[type[Text]] = Text  # how its files are read
    data_dir: Path | None = None
    """Folder of prepared data (default: $ATTNJAX_DATA_DIR or the user's cache)."""

    def splits(self) -> Splits:
        """Returns the text of each split; train is first, validation second.

        Raises:
          UserError: if files are missing or empty.
        """
        raise NotImplementedError

    def read_as(self, path: Path) -> Text:
        """Returns the text of another file, read as the data set reads its own.

        Raises:
          UserError: if the file is missing or empty.
        """
        return self.reader((path,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextFiles(TextDataset):
    """Text of your own: UTF-8 files, plain or gzipped."""

    text: tuple[Path, ...] = ()
    """Training files, concatenated in order."""
    validation: tuple[Path, ...] = ()
    """Validation files; by default the end of the training text is held out."""
    test: tuple[Path, ...] = ()
    """Test files, if there are any."""
    held_out: float = 0.1
    """Share of the training text to hold out for validation if no file is given."""

    def splits(self) -> Splits:
        """See `TextDataset`."""
        if not self.text:
            raise UserError(
                "data.text: expected training files, got none (name them with "
                "--data.text FILE ...)"
            )
        train = Text(self.text)
        if self.validation:
            splits = {"train": train, "validation": Text(self.validation)}
        else:
            splits = _held_out(train, self.held_out)
        return splits | ({"test": Text(self.test)} if self.test else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyShakespeare(TextDataset):
    """One megabyte of Shakespeare's plays (Karpathy 2015).

    The last tenth is the validation text, as in nanoGPT.
    """

    raw_dir: Path | None = None
    """Folder with input.txt or input.txt.gz; the file is downloaded by default."""

    def splits(self) -> Splits:
        """See `TextDataset`."""
        if self.raw_dir is None:
            folder = resolve_data_dir(self.data_dir) / "tinyshakespeare"
            path = download(SHAKESPEARE_URL, SHAKESPEARE_SHA256, folder)
        else:
            (path,) = _raw_files(self.raw_dir, ("input.txt",))
        return _held_out(Text((path,)), 0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WikiText2(TextDataset):
    """Two million words of Wikipedia articles, tokenised, rare words as <unk>.

    Merity et al. 2017, "Pointer Sentinel Mixture Models" (arXiv:1609.07843).
    """

    raw_dir: Path | None = None
    """Folder with wiki.{train,valid,test}.tokens, plain or gzipped."""

    def splits(self) -> Splits:
        """See `TextDataset`."""
        return _three_files(self.raw_dir, "wiki.{}.tokens")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PennTreebank(TextDataset):
    """A million words of the Wall Street Journal: 9,999 kinds and the end of a line.

    Mikolov et al. 2010, "Recurrent neural network based language model": lower case,
    numbers as N, rare words as <unk>. By characters it has 49 kinds and the newline:
    the blanks at both ends of a line are left out, and <unk> is five characters.
    """

    reader: ClassVar[type[Text]] = StrippedText
    raw_dir: Path | None = None
    """Folder with ptb.{train,valid,test}.txt, plain or gzipped."""

    def splits(self) -> Splits:
        """See `TextDataset`."""
        texts = _three_files(self.raw_dir, "ptb.{}.txt")
        return {name: self.reader(text.paths) for name, text in texts.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceCode(TextDataset):
    """The source code of attnjax itself, which needs no download."""

    def splits(self) -> Splits:
        """See `TextDataset`."""
        folder = Path(attnjax.__file__).parent
        return _held_out(Text(tuple(sorted(folder.rglob("*.py")))), 0.1)


SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/"
    "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def _held_out(text: Text, share: float) -> Splits:
    train, validation = text.split(share)
    return {"train": train, "validation": validation}


def _three_files(raw_dir: Path | None, name: str) -> Splits:
    """The splits of a folder with a file each, whose name has train, valid or test."""
    names = tuple(name.format(part) for part in ("train", "valid", "test"))
    if raw_dir is None:
        raise UserError(
            f"raw_dir: expected the folder of {', '.join(names)}, got none (name "
            "it with --data.raw-dir DIR)"
        )
    paths = _raw_files(raw_dir, names)
    splits = ("train", "validation", "test")
    return {split: Text((path,)) for split, path in zip(splits, paths, strict=True)}


def _raw_files(raw_dir: Path, names: tuple[str, ...]) -> list[Path]:
    folder = require_folder(expand(raw_dir), "raw_dir")
    found = {name: plain_or_gzip(folder / name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise UserError(
            f"raw_dir: expected {', '.join(missing)} (or with .gz), got no such file "
            f"in {folder}"
        )
    return [path for path in found.values() if path is not None]


def download(url: str, sha256: str, folder: Path) -> Path:
    """Returns a file of known content; downloads it on first use.

    Raises:
      UserError: if the download fails, its hash differs, or the folder is read-only.
    """
    path = folder / url.rpartition("/")[2]
    if path.is_file():
        return path
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except (OSError, ValueError) as error:
        raise UserError(
            f"raw_dir: expected to download {url}, got {type(error).__name__}: {error} "
            "(without a network, point --data.raw-dir at a folder with "
            f"{path.name})"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UserError(
            f"{url}: expected a file with SHA-256 {sha256}, got {found} (try again, or "
            "point --data.raw-dir at a folder with the right one)"
        )
    with folder_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    return path
