"""The first 100 million bytes of the English Wikipedia, read as bytes."""

import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from experiments.datasets.text.datasets import Splits, Text, TextDataset
from experiments.datasets.text_files import expand, require_folder
from experiments.errors import UserError

NAME = "enwik8"


class ByteText(Text):
    """The bytes of a range of one file, as lines of text.

    A byte that is no part of a UTF-8 character, as where a range cuts one, is a lone
    surrogate, from which `ByteTokenizer` makes the byte again.
    """

    def __iter__(self) -> Iterator[str]:
        """Yields the lines, with their newlines; the first and last may be cut."""
        (path,) = self.paths
        with path.open("rb") as file:
            file.seek(self.start)
            left = self.length
            while left and (line := file.readline(left)):
                left -= len(line)
                yield line.decode(errors="surrogateescape")

    @functools.cached_property
    def length(self) -> int:
        """Number of bytes."""
        (path,) = self.paths
        return int(max(0, min(self.stop, os.path.getsize(path)) - self.start))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Enwik8(TextDataset):
    """The Hutter prize's data: 96 % are training text, the last 4 % validation.

    Graves 2013 (arXiv:1308.0850), section 3.2.
    """

    reader: ClassVar[type[Text]] = ByteText
    raw_dir: Path | None = None
    """Folder with the file enwik8, not compressed; a shorter file is split alike."""

    def splits(self) -> Splits:
        """See `TextDataset`."""
        if self.raw_dir is None:
            raise UserError(
                f"raw_dir: expected the folder of {NAME}, got none (name it with "
                "--data.raw-dir DIR)"
            )
        path = require_folder(expand(self.raw_dir), "raw_dir") / NAME
        if not path.is_file():
            raise UserError(
                f"raw_dir: expected {NAME} (unzipped), got no such file in "
                f"{path.parent}"
            )
        cut = ByteText((path,)).length * 96 // 100
        train, validation = ByteText((path,), 0, cut), ByteText((path,), cut)
        return {"train": train, "validation": validation}
