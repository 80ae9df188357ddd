"""Links between the words of two sentences: their error rate, and the Pharaoh format.

A link is a pair (source position, target position), both from 0. One line holds
the links of one sentence pair: `i-j` is sure, `ipj` only possible.
"""

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

Link = tuple[int, int]

_LINK = re.compile("([0-9]+)([-p])([0-9]+)")


class Alignment(NamedTuple):
    """The links of one sentence pair; a system's own links are all sure."""

    sure: frozenset[Link]
    possible: frozenset[Link]  # includes the sure ones


class AlignmentScore(NamedTuple):
    """A corpus-level comparison with gold links; ratios in [0, 1]."""

    aer: float
    precision: float
    recall: float
    links: int  # how many the system proposed


def alignment(sure: Iterable[Link], possible: Iterable[Link] = ()) -> Alignment:
    """Bundles links; the possible ones always include the sure ones.

    Example:
      >>> alignment([(0, 1)], possible=[(2, 2)]).possible == {(0, 1), (2, 2)}
      True
    """
    sure = frozenset(sure)
    return Alignment(sure, sure | frozenset(possible))


def alignment_error_rate(
    hypotheses: Sequence[Alignment], references: Sequence[Alignment]
) -> AlignmentScore:
    r"""Scores links against gold links, summed over the corpus.

    .. math:: AER = 1 - \frac{|A \cap S| + |A \cap P|}{|A| + |S|}

    with A all links of the system, S the sure and P the possible gold links (S in
    P); precision is |A ∩ P| / |A| and recall |A ∩ S| / |S|. A ratio of nothing to
    nothing counts as perfect if there were neither links nor sure gold, else as 0.

    Source: Och & Ney 2003 (doi:10.1162/089120103321337421).

    Raises:
      ValueError: if there are not as many hypotheses as references.

    Example:
      >>> gold = parse_pharaoh("0-0 1p1")
      >>> alignment_error_rate([parse_pharaoh("0-0 1-1 2-2")], [gold]).aer
      0.25
    """
    if len(hypotheses) != len(references):
        raise ValueError(
            f"hypotheses: expected {len(references)} alignments (as in references), "
            f"got {len(hypotheses)} (one per sentence pair, also where it is empty)"
        )
    links = sure = in_sure = in_possible = 0
    for hypothesis, gold in zip(hypotheses, references, strict=True):
        proposed = hypothesis.sure | hypothesis.possible
        links, sure = links + len(proposed), sure + len(gold.sure)
        in_sure += len(proposed & gold.sure)
        in_possible += len(proposed & (gold.possible | gold.sure))
    if links + sure == 0:
        return AlignmentScore(aer=0.0, precision=1.0, recall=1.0, links=0)
    return AlignmentScore(
        aer=1 - (in_sure + in_possible) / (links + sure),
        precision=in_possible / links if links else 0.0,
        recall=in_sure / sure if sure else 0.0,
        links=links,
    )


def parse_pharaoh(
    line: str, *, source_length: int | None = None, target_length: int | None = None
) -> Alignment:
    """Reads one line of links: `i-j` is sure, `ipj` only possible.

    Args:
      line: links in any order, separated by white space; may be empty.
      source_length: words of the source; None leaves positions unchecked.
      target_length: words of the target; likewise.

    Raises:
      ValueError: if a link is malformed, or points past the end of a sentence.

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
    """Writes links as one line, sorted; plain links are sure."""
    if not isinstance(links, Alignment):
        links = alignment(links)
    every = sorted(links.sure | links.possible)
    return " ".join(f"{i}{'-' if (i, j) in links.sure else 'p'}{j}" for i, j in every)


def read_pharaoh(
    path: str | os.PathLike[str], *, lengths: Iterable[tuple[int, int]] | None = None
) -> list[Alignment]:
    """Reads a file of links, plain or gzipped, one line per sentence pair.

    Args:
      path: the file; gzip is known by its first bytes, not by its name.
      lengths: (source, target) lengths in words, one per line, to check against.

    Raises:
      ValueError: if the file is damaged, has another number of lines than
        `lengths`, or holds a bad link; the message names the file and line.
    """
    lines = _read_lines(Path(path))
    sizes = None if lengths is None else list(lengths)
    if sizes is not None and len(sizes) != len(lines):
        raise ValueError(
            f"{path}: expected {len(sizes)} lines, got {len(lines)} "
            "(one line per sentence pair, empty where there are no links)"
        )
    found = []
    for n, line in enumerate(lines):
        source, target = (None, None) if sizes is None else sizes[n]
        try:
            links = parse_pharaoh(line, source_length=source, target_length=target)
        except ValueError as error:
            raise ValueError(f"{path}:{n + 1}: {error}") from None
        found.append(links)
    return found


def write_pharaoh(
    path: str | os.PathLike[str], alignments: Iterable[Alignment | Iterable[Link]]
) -> None:
    """Writes a file of links, gzipped if its name ends in .gz, whole or not at all."""
    path = Path(path)
    data = "".join(format_pharaoh(links) + "\n" for links in alignments).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # no clock: same links, same bytes
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)


def check_link(name: str, link: Link, source: int | None, target: int | None) -> None:
    """Checks that a link lies within two sentences, where their lengths are given."""
    sides = ("source", link[0], source), ("target", link[1], target)
    for side, position, length in sides:
        if length is not None and not 0 <= position < length:
            raise ValueError(
                f"{name}: expected {side} positions below {length}, got {position} in "
                f"{link[0]}-{link[1]} (count from 0, source first; are the sides "
                "swapped?)"
            )


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
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}:{line}: expected UTF-8 text, got the byte "
            f"0x{data[error.start]:02x} (is it a file of links?)"
        ) from None
    return lines[:-1] if lines[-1] == "" else lines
