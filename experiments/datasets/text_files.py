"""Line-aligned text files, plain or gzipped, read with care.

Whatever is wrong with a file is said with its name and the line: it is the user's
file, and the user's to mend.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.errors import UserError


def require_file(path: Path, name: str) -> Path:
    """Gives the path back if it names a file that is not empty.

    Raises:
      UserError: if there is no such file, or nothing in it.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "nothing of that name"
        raise UserError(f"{name}: expected a file, got {kind}: {path}")
    if path.stat().st_size == 0:
        raise UserError(f"{name}: expected lines of text, got an empty file: {path}")
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


def read_lines(path: Path) -> Iterator[str]:
    """Reads the lines of a UTF-8 file, gzipped or not (told by its first bytes).

    Only newlines end a line, so that line k of one file stays line k of the other
    whatever else Unicode calls a line break; a carriage return before the newline
    and a byte order mark at the start are dropped.

    Args:
      path: the file.

    Yields:
      Each line without its newline and without blanks at its ends.

    Raises:
      UserError: at bytes that are not UTF-8, or a gzip file that is cut short.
    """
    offset = 0
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                encoding = "utf-8-sig" if number == 1 else "utf-8"
                yield line.decode(encoding).strip()
                offset += len(line)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UserError(
            f"{path}: expected UTF-8, got byte 0x{byte:02x} in line {number}, at byte "
            f"{offset + error.start} of the text (convert the file to UTF-8)"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzip file ({error})") from error


def pair_lines(
    source: Path, target: Path, *, drop_empty: bool = False
) -> list[tuple[str, str]]:
    """Reads two line-aligned files.

    Args:
      source: file whose line k is a translation of line k of `target`.
      target: the other file.
      drop_empty: leave out the pairs of which a line is empty, instead of raising.

    Returns:
      The pairs, in order.

    Raises:
      UserError: if a file is missing or empty or not UTF-8, if the counts of lines
        differ, or if lines are empty.
    """
    require_file(source, "source")
    require_file(target, "target")
    sources, targets = list(read_lines(source)), list(read_lines(target))
    if len(sources) != len(targets):
        raise UserError(
            f"expected files of equal length, got {len(sources)} lines in {source} "
            f"and {len(targets)} lines in {target}"
        )
    pairs = list(zip(sources, targets, strict=True))
    return _without_empty(pairs, (source, target), drop_empty=drop_empty)


def tab_lines(path: Path, *, drop_empty: bool = False) -> list[tuple[str, str]]:
    """Reads a file of source, tab, target; further columns are ignored.

    Raises:
      UserError: as `pair_lines`, and at a line without a tab.
    """
    require_file(path, "tsv")
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) == 1 and line:
            raise UserError(
                f"{path}: expected source, tab, target, got no tab in line {number}"
            )
        pairs.append((columns[0].strip(), columns[1].strip() if line else ""))
    return _without_empty(pairs, (path, path), drop_empty=drop_empty)


def _without_empty(
    pairs: Sequence[tuple[str, str]], paths: tuple[Path, Path], *, drop_empty: bool
) -> list[tuple[str, str]]:
    if not drop_empty:
        for side, path in enumerate(paths):
            empty = [i for i, pair in enumerate(pairs, start=1) if not pair[side]]
            if empty:
                shown = ", ".join(map(str, empty[:5])) + (", ..." * (len(empty) > 5))
                raise UserError(
                    f"{path}: expected a sentence in every line, got {len(empty)} "
                    f"empty (line {shown}; mend the files, or drop such pairs with "
                    "--drop-empty)"
                )
    kept = [pair for pair in pairs if all(pair)]
    if not kept:
        raise UserError(f"{paths[0]}: expected lines of text, got empty lines only")
    return kept
