"""Every plain text to learn a language from, by its settings.

Each is a frozen dataclass with `splits`; a command line makes its flags from the
fields. A text is its lines, each ended by a newline, whatever the files end lines with.
"""

import dataclasses
import functools
import hashlib
import math
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import attnjax
from experiments.datasets.data_dir import folder_errors, resolve_data_dir
from experiments.datasets.text_files import (
    plain_or_gzip,
    read_lines,
    require_file,
    require_folder,
)
from experiments.errors import UserError
from experiments.files import write_atomic


class Text:
    """The lines of some files, or of a part of them; read anew each time."""

    def __init__(
        self, paths: tuple[Path, ...], start: int = 0, stop: float = math.inf
    ) -> None:
        """Names a part of files.

        Args:
          paths: UTF-8 files, plain or gzipped, one after the other.
          start: the first character of the part, newlines counted.
          stop: the character after the last.

        Raises:
          UserError: if a file is missing or empty.
        """
        self.paths = tuple(require_file(path.expanduser()) for path in paths)
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[str]:
        """Reads the lines, with their newlines; the first and last may be cut.

        Raises:
          UserError: at bytes that are not UTF-8, or a gzip file that is cut short.
        """
        seen = 0
        for path in self.paths:
            for line in read_lines(path):
                first, last = self.start - seen, self.stop - seen
                if last <= 0:
                    return
                seen += len(line) + 1
                if first <= len(line):
                    whole = last > len(line)
                    yield f"{line}\n"[max(0, first) : None if whole else int(last)]

    @functools.cached_property
    def length(self) -> int:
        """The number of characters, newlines among them."""
        return sum(map(len, self))

    def split(self, held_out: float) -> tuple["Text", "Text"]:
        """Cuts a share of the characters off the end.

        Returns:
          What is left, and what was cut off.
        """
        cut = self.start + int(self.length * (1 - held_out))
        return Text(self.paths, self.start, cut), Text(self.paths, cut, self.stop)


Splits = dict[str, Text]  # "train", "validation", and tests


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextDataset:
    """What every data set of plain text is: settings that lead to texts."""

    data_dir: Path | None = None
    """Where prepared data are kept (default: $ATTNJAX_DATA_DIR or the user's cache)."""

    def splits(self) -> Splits:
        """Gives the text of each split; train is the first, validation the second.

        Raises:
          UserError: if files are missing or empty.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextFiles(TextDataset):
    """Text of your own: UTF-8 files, plain or gzipped."""

    text: tuple[Path, ...] = ()
    """Files to learn from, one after the other."""
    validation: tuple[Path, ...] = ()
    """Files to validate on; none: the end of the text."""
    test: tuple[Path, ...] = ()
    """Files to test on, if any."""
    held_out: float = 0.1
    """Share of the text, at its end, to validate on where no file is given."""

    def splits(self) -> Splits:
        """See `TextDataset`."""
        if not self.text:
            raise UserError(
                "data.text: expected files to learn from, got none (name them with "
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
    """A megabyte of Shakespeare's plays, all in one file (Karpathy 2015).

    The last tenth is for validation, as in nanoGPT.
    """

    raw_dir: Path | None = None
    """Folder with input.txt or input.txt.gz; downloaded if not given."""

    def splits(self) -> Splits:
        """See `TextDataset`."""
        if self.raw_dir is None:
            folder = resolve_data_dir(self.data_dir) / "tinyshakespeare"
            path = downloaded(SHAKESPEARE_URL, SHAKESPEARE_SHA256, folder)
        else:
            (path,) = _raw_files(self.raw_dir, ("input.txt",))
        return _held_out(Text((path,)), 0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WikiText2(TextDataset):
    """Two million words of good Wikipedia articles, tokenised, rare ones as <unk>.

    Merity et al. 2017, "Pointer Sentinel Mixture Models" (arXiv:1609.07843).
    """

    raw_dir: Path | None = None
    """Folder with wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens or *.gz."""

    def splits(self) -> Splits:
        """See `TextDataset`."""
        names = tuple(f"wiki.{part}.tokens" for part in ("train", "valid", "test"))
        if self.raw_dir is None:
            raise UserError(
                f"raw_dir: expected the folder of {', '.join(names)}, got none (name "
                "it with --data.raw-dir DIR)"
            )
        paths = _raw_files(self.raw_dir, names)
        splits = ("train", "validation", "test")
        return {name: Text((path,)) for name, path in zip(splits, paths, strict=True)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceCode(TextDataset):
    """The library's own source code: a text that is always there."""

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


def _raw_files(raw_dir: Path, names: tuple[str, ...]) -> list[Path]:
    folder = require_folder(raw_dir.expanduser(), "raw_dir")
    found = {name: plain_or_gzip(folder / name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise UserError(
            f"raw_dir: expected {', '.join(missing)} (or with .gz), got no such file "
            f"in {folder}"
        )
    return [path for path in found.values() if path is not None]


def downloaded(url: str, sha256: str, folder: Path) -> Path:
    """Gives a file of known content, fetching it on first use.

    Raises:
      UserError: if it cannot be fetched, is another file, or cannot be kept.
    """
    path = folder / url.rpartition("/")[2]
    if path.is_file():
        return path
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot download {url} ({type(error).__name__}: {error}). Without a "
            f"network, point --data.raw-dir at a folder with {path.name}"
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
