"""Text files given by the user: UTF-8 lines, line-aligned or in columns, or gzipped.

Every error names the file and the line, since only the user can fix it.
"""

import gzip
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from experiments.errors import UserError


class Columns(NamedTuple):
    """Which columns of a tab-separated file hold the sentences, counted from 1."""

    source: int
    target: int

    @classmethod
    def of(cls, source: int, target: int | None = None) -> Self:
        """Checks the columns; by default the target is in the other of the first two.

        Raises:
          UserError: if a column is less than 1, or both are the same.
        """
        if target is None:
            target = 1 if source == 2 else 2
        for name, column in (("source_column", source), ("target_column", target)):
            if column < 1:
                raise UserError(f"{name}: expected 1 or more, got {column}")
        if source == target:
            raise UserError(
                f"target_column: expected another than that of the source, got {target}"
            )
        return cls(source, target)


FIRST_TWO = Columns(1, 2)


def expand(path: Path) -> Path:
    """Replaces ~ at the beginning of a path by the user's home folder.

    Raises:
      UserError: if there is no such user.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: expected a path, got: {error}") from error


def absolute(path: Path) -> Path:
    """Returns an absolute path without links, in which ~ is the user's home folder.

    Raises:
      UserError: if there is no such user, or the links form a circle.
    """
    try:
        return expand(path).resolve()
    except (RuntimeError, OSError) as error:
        raise UserError(f"{path}: expected a path, got: {error}") from error


def require_file(path: Path) -> Path:
    """Returns the path if it names a file that is not empty.

    Raises:
      UserError: if there is no such file, or it is empty.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "nothing of that name"
        if path.is_fifo():
            kind = "a pipe, which can be read only once (write it to a file)"
        raise UserError(f"{path}: expected a file, got {kind}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: expected lines of text, got an empty file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: expected a file that can be read, got: no permission")
    return path


def require_folder(path: Path, name: str) -> Path:
    """Returns the path if it names a folder that is not empty.

    Raises:
      UserError: if there is no such folder, or it is empty.
    """
    if not path.is_dir():
        kind = "a file" if path.exists() else "nothing of that name"
        raise UserError(f"{name}: expected a folder, got {kind}: {path}")
    if not any(path.iterdir()):
        raise UserError(f"{name}: expected files, got an empty folder: {path}")
    return path


def plain_or_gzip(path: Path) -> Path | None:
    """Returns the file itself or with .gz appended; None if there is neither."""
    zipped = path.with_name(f"{path.name}.gz")
    return next((p for p in (zipped, path) if p.is_file()), None)


def read_lines(path: Path) -> Iterator[str]:
    """Reads the lines of a UTF-8 file; gzip is recognised by its first two bytes.

    Args:
      path: the file.

    Yields:
      Each line, as `decode_lines` gives it.

    Raises:
      UserError: if bytes are not UTF-8, or a gzip file is truncated.
    """
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            yield from decode_lines(file, str(path))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: expected a whole gzip file ({error})") from error


def decode_lines(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Decodes the lines of a UTF-8 text.

    Only newlines end a line. `str.splitlines` also splits at other Unicode line breaks,
    and would then align line k with another line. A byte order mark is dropped.

    Args:
      lines: a binary stream.
      name: name of the text in errors.

    Yields:
      Each line without its newline (LF or CRLF).

    Raises:
      UserError: if bytes are not UTF-8.
    """
    offset = 0
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name}: expected UTF-8, got byte 0x{line[error.start]:02x} in line "
                f"{number}, at byte {offset + error.start} of the text (convert the "
                "file)"
            ) from error
        text = text.removeprefix("\ufeff") if number == 1 else text
        yield text.removesuffix("\n").removesuffix("\r")
        offset += len(line)  # in bytes


def read_pairs(
    paths: Sequence[Path],
    *,
    columns: Columns = FIRST_TWO,
    drop_empty: bool = False,
    remedy: str = "fix the files, or drop such pairs with --data.drop-empty",
) -> Iterator[tuple[str, str]]:
    """Reads two line-aligned files, or one of tab-separated columns.

    Errors that concern whole files are raised after the last pair.

    Args:
      paths: two files of which line k of one translates line k of the other, or one
        file of tab-separated columns.
      columns: those of source and target in such a file; the others are ignored.
      drop_empty: whether to drop pairs with an empty side instead of raising.
      remedy: what the error tells the user to do about such pairs.

    Yields:
      The pairs, in order, both sides stripped of whitespace.

    Raises:
      UserError: if a file is missing, empty or not UTF-8, if the numbers of lines
        differ, if a line has no tab, or if a side is empty.
    """
    if len(paths) not in (1, 2):
        raise UserError(
            "files: expected two line-aligned files or one with tab-separated columns, "
            f"got {len(paths)} files"
        )
    for path in paths:
        require_file(path)
    empty: dict[Path, list[int]] = {path: [] for path in paths}
    complete = False  # whether a pair with text on both sides was found
    pairs = _zipped(*paths) if len(paths) == 2 else _columns(paths[0], columns)
    for number, pair in enumerate(pairs, start=1):
        if all(pair):
            complete = True
            yield pair
        elif not drop_empty:
            side = pair.index("")
            # With one file of two columns, both sides are in that file.
            empty[paths[side % len(paths)]].append(number)
    for path, numbers in empty.items():
        if numbers:
            raise UserError(_empty_lines(path, numbers, remedy))
    if not complete:
        raise UserError(f"{paths[0]}: expected lines of text, got empty lines only")


def count_empty(paths: Sequence[Path], columns: Columns = FIRST_TWO) -> int:
    """Counts the pairs with an empty side, which `drop_empty` drops."""
    pairs = _zipped(*paths) if len(paths) == 2 else _columns(paths[0], columns)
    return sum(not all(pair) for pair in pairs)


def _zipped(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    counts = [0, 0]
    for pair in itertools.zip_longest(read_lines(source), read_lines(target)):
        counts = [n + (text is not None) for n, text in zip(counts, pair, strict=True)]
        if None not in pair:
            yield pair[0].strip(), pair[1].strip()
    if counts[0] != counts[1]:
        raise UserError(
            f"files: expected equally many lines, got {counts[0]} in {source} and "
            f"{counts[1]} in {target}"
        )


def _columns(path: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_lines(path), start=1):
        cells = line.split("\t")
        if not line.strip():  # an empty pair, of which the caller decides
            yield "", ""
        elif len(cells) < max(columns):
            got = "no tab" if len(cells) == 1 else f"{len(cells)} columns"
            expected = (
                "source, tab, target"
                if columns == FIRST_TWO
                else f"{max(columns)} columns with a tab between them"
            )
            raise UserError(f"{path}: expected {expected}, got {got} in line {number}")
        else:
            yield cells[columns.source - 1].strip(), cells[columns.target - 1].strip()


def _empty_lines(path: Path, numbers: Sequence[int], remedy: str) -> str:
    shown = ", ".join(map(str, numbers[:5])) + ", ..." * (len(numbers) > 5)
    return (
        f"{path}: expected a sentence in every line, got {len(numbers)} empty (line "
        f"{shown}; {remedy})"
    )
