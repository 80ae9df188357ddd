"""The Pharaoh format: a line of links per sentence pair, `i-j` sure, `ipj` possible."""

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

from attnjax.align._links import Alignment, Link, alignment, check_link

_LINK = re.compile("([0-9]+)([-p])([0-9]+)")


def parse_pharaoh(
    line: str, *, source_length: int | None = None, target_length: int | None = None
) -> Alignment:
    """Parses one line of links: `i-j` is sure, `ipj` only possible.

    Args:
      line: links in any order, separated by white space; may be empty.
      source_length: number of source words; None skips the check of positions.
      target_length: number of target words; None skips the check of positions.

    Raises:
      ValueError: if a link is malformed, or outside a sentence.

    Example:
      >>> format_pharaoh(parse_pharaoh("1-0 0p0 0-1"))
      '0p0 0-1 1-0'
    """
    links: dict[str, set[Link]] = {"-": set(), "p": set()}
    for text in line.split():
        match = _LINK.fullmatch(text)
        if match is None:
            raise ValueError(
                f"line: expected links like 3-4 (sure) or 3p4 (possible), got {text!r} "
                "(positions count from 0, the source comes first)"
            )
        link = int(match[1]), int(match[3])
        check_link("line", link, source_length, target_length)
        links[match[2]].add(link)
    return alignment(links["-"], links["p"])


def format_pharaoh(links: Alignment | Iterable[Link]) -> str:
    """Formats links as one sorted line; plain pairs are sure links."""
    if not isinstance(links, Alignment):
        links = alignment(links)
    pairs = sorted(links.sure | links.possible)
    return " ".join(f"{i}{'-' if (i, j) in links.sure else 'p'}{j}" for i, j in pairs)


def read_pharaoh(
    path: str | os.PathLike[str], *, lengths: Iterable[tuple[int, int]] | None = None
) -> list[Alignment]:
    """Reads a Pharaoh file, plain or gzipped, one line per sentence pair.

    Args:
      path: the file; gzip is detected by its first bytes, not by its name.
      lengths: (source, target) lengths in words, one per line, to check against.

    Raises:
      ValueError: if the file is damaged, does not have one line per entry of `lengths`,
        or holds a bad link; the message names the file and line.
    """
    lines = _read_lines(Path(path))
    sizes = None if lengths is None else list(lengths)
    if sizes is not None and len(sizes) != len(lines):
        raise ValueError(
            f"{path}: expected {len(sizes)} lines, got {len(lines)} "
            "(one line per sentence pair, empty where there are no links)"
        )
    alignments = []
    for n, line in enumerate(lines):
        source, target = (None, None) if sizes is None else sizes[n]
        try:
            links = parse_pharaoh(line, source_length=source, target_length=target)
        except ValueError as error:
            raise ValueError(f"{path}:{n + 1}: {error}") from None
        alignments.append(links)
    return alignments


def write_pharaoh(
    path: str | os.PathLike[str], alignments: Iterable[Alignment | Iterable[Link]]
) -> None:
    """Writes a Pharaoh file atomically, gzipped if its name ends in .gz."""
    path = Path(path)
    data = "".join(format_pharaoh(links) + "\n" for links in alignments).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # no time stamp: same links, same bytes
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)


def _read_lines(path: Path) -> list[str]:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path}: expected a whole gzip file, got a damaged one ({error}; "
                "copy it again)"
            ) from None
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}:{line}: expected UTF-8 text, got the byte "
            f"0x{data[error.start]:02x} (is it a file of links?)"
        ) from None
    return lines[:-1] if lines[-1] == "" else lines
