"""Line-aligned text files, plain or gzipped, read with care.

Whatever is wrong with a file is said with its name and the line: it is the user's
file, and the user's to mend.
"""

import gzip
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from experiments.errors import UserError


def require_file(path: Path) -> Path:
    """Gives the path back if it names a file that is not empty.

    Raises:
      UserError: if there is no such file, or nothing in it.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "nothing of that name"
        raise UserError(f"{path}: expected a file, got {kind}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: expected lines of text, got an empty file")
    return path


def require_folder(path: Path, name: str) -> Path:
    """Gives the path back if it names a folder that is not empty.

    Raises:
      UserError: if there is no such folder, or nothing in it.
    """
    if not path.is_dir():
        kind = "a file" if path.exists() else "nothing of that name"
        raise UserError(f"{name}: expected a folder, got {kind}: {path}")
    if not any(path.iterdir()):
        raise UserError(f"{name}: expected files, got an empty folder: {path}")
    return path


def plain_or_gzip(path: Path) -> Path | None:
    """Finds a file, which may have .gz after its name; None if it is not there."""
    zipped = path.with_name(f"{path.name}.gz")
    return next((p for p in (zipped, path) if p.is_file()), None)


def read_lines(path: Path) -> Iterator[str]:
    """Reads the lines of a UTF-8 file, gzipped or not (told by its first bytes).

    Args:
      path: the file.

    Yields:
      Each line, as `decode_lines` gives it.

    Raises:
      UserError: at bytes that are not UTF-8, or a gzip file that is cut short.
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

    Only newlines end a line, so that line k of one file stays line k of the other
    whatever else Unicode calls a line break. A byte order mark is dropped.

    Args:
      lines: a binary stream.
      name: what to call it in an error.

    Yields:
      Each line without its newline (LF or CRLF).

    Raises:
      UserError: at bytes that are not UTF-8.
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
        offset += len(line)


def read_pairs(
    paths: Sequence[Path],
    *,
    drop_empty: bool = False,
    remedy: str = "mend the files, or drop such pairs with --drop-empty",
) -> Iterator[tuple[str, str]]:
    """Reads two line-aligned files, or one of tab-separated columns.

    Errors that only the whole of the files shows come at the end.

    Args:
      paths: two files of which line k of one translates line k of the other, or one
        file of source, tab, target (further columns are ignored).
      drop_empty: leave out the pairs of which a side is empty, instead of raising.
      remedy: what to tell the user to do about them.

    Yields:
      The pairs, in order, without blanks at either end.

    Raises:
      UserError: if a file is missing or empty or not UTF-8, if the counts of lines
        differ, if a line has no tab, or if sides are empty.
    """
    if len(paths) not in (1, 2):
        raise UserError(
            "expected two line-aligned files or one with tab-separated columns, got "
            f"{len(paths)} files"
        )
    for path in paths:
        require_file(path)
    empty: dict[Path, list[int]] = {path: [] for path in paths}
    whole = False  # whether there was a pair with text on both sides
    pairs = _zipped(*paths) if len(paths) == 2 else _columns(*paths)
    for number, pair in enumerate(pairs, start=1):
        if all(pair):
            whole = True
            yield pair
        elif not drop_empty:
            side = pair.index("")
            empty[paths[side % len(paths)]].append(number)
    for path, numbers in empty.items():
        if numbers:
            raise UserError(_empty_lines(path, numbers, remedy))
    if not whole:
        raise UserError(f"{paths[0]}: expected lines of text, got empty lines only")


def _zipped(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    counts = [0, 0]
    for pair in itertools.zip_longest(read_lines(source), read_lines(target)):
        counts = [n + (text is not None) for n, text in zip(counts, pair, strict=True)]
        if None not in pair:
            yield pair[0].strip(), pair[1].strip()
    if counts[0] != counts[1]:
        raise UserError(
            f"expected files of equal length, got {counts[0]} lines in {source} and "
            f"{counts[1]} lines in {target}"
        )


def _columns(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_lines(path), start=1):
        source, *rest = line.split("\t")
        if line.strip() and not rest:
            raise UserError(
                f"{path}: expected source, tab, target, got no tab in line {number}"
            )
        yield source.strip(), (rest or [""])[0].strip()


def _empty_lines(path: Path, numbers: Sequence[int], remedy: str) -> str:
    shown = ", ".join(map(str, numbers[:5])) + ", ..." * (len(numbers) > 5)
    return (
        f"{path}: expected a sentence in every line, got {len(numbers)} empty (line "
        f"{shown}; {remedy})"
    )
