"""Joining the alignments of the two directions of translation into one."""

from collections.abc import Iterable
from typing import Literal

from attnjax.align._pharaoh import Alignment, Link, alignment

# Straight steps first, then diagonal ones: the order of Moses' description.
_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))

_METHODS = (
    "intersection",
    "union",
    "grow-diag",
    "grow-diag-final",
    "grow-diag-final-and",
)


def symmetrise(
    forward: Alignment,
    reverse: Alignment,
    *,
    method: Literal[
        "intersection", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and"
    ] = "grow-diag-final-and",
    grow: Literal["either", "both"] = "either",
) -> Alignment:
    """Joins the alignments of the two directions of translation.

    "grow-diag" starts from the links in both and adds, as long as it can, links
    in one of them that touch (also diagonally) one it has. "-final" then adds
    the rest, forward first, where either word is unaligned, "-final-and" where
    both are.

    Source: Och & Ney 2003 (doi:10.1162/089120103321337421); Koehn, Och & Marcu 2003
    (doi:10.3115/1073445.1073462), as in the pseudocode of the Moses manual,
    training step 3 (www.statmt.org/moses/?n=FactoredTraining.AlignWords).

    Args:
      forward: links (source, target) of one direction.
      reverse: links of the other, already flipped to (source, target).
      method: what to keep, as above.
      grow: a link is grown where "either" of its words is unaligned (Koehn, Moses),
        or only where "both" are (as the files of lilt/alignment-scripts were made).

    Raises:
      ValueError: if there is no such method.

    Example:
      >>> from attnjax.align import format_pharaoh
      >>> forward, reverse = alignment([(0, 0), (1, 1)]), alignment([(0, 0), (2, 1)])
      >>> format_pharaoh(symmetrise(forward, reverse, method="grow-diag"))
      '0-0 1-1 2-1'
    """
    if method not in _METHODS:
        raise ValueError(f"method: expected one of {_METHODS}, got {method!r}")
    if grow not in ("either", "both"):
        raise ValueError(f"grow: expected 'either' or 'both', got {grow!r}")
    one, other = forward.sure | forward.possible, reverse.sure | reverse.possible
    if method == "union":
        return alignment(one | other)
    links = set(one & other)
    if method != "intersection":
        _grow(links, one | other, both=grow == "both")
    if method.startswith("grow-diag-final"):
        _finish(links, sorted(one), both=method.endswith("-and"))
        _finish(links, sorted(other), both=method.endswith("-and"))
    return alignment(links)


def _free(links: set[Link], link: Link, *, both: bool) -> bool:
    """Whether either word of a link (or both) has no link yet."""
    source = all(link[0] != i for i, _ in links)
    target = all(link[1] != j for _, j in links)
    return (source and target) if both else (source or target)


def _grow(links: set[Link], union: frozenset[Link], *, both: bool) -> None:
    """Adds neighbours of links until none is left; in reading order, row by row."""
    before = -1
    while len(links) > before:
        before = len(links)
        for i, j in sorted(union):  # a link added now may be grown from now
            if (i, j) not in links:
                continue
            for di, dj in _NEIGHBOURS:
                new = i + di, j + dj
                if new in union - links and _free(links, new, both=both):
                    links.add(new)


def _finish(links: set[Link], candidates: Iterable[Link], *, both: bool) -> None:
    for link in candidates:
        if _free(links, link, both=both):
            links.add(link)
