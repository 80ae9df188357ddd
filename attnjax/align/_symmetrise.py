"""Symmetrisation: combines the alignments of both translation directions."""

from collections.abc import Iterable
from typing import Literal

from attnjax.align._links import Alignment, Link, alignment

# Horizontal and vertical neighbours first, then diagonal ones, as in Moses' manual.
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
    """Combines the alignments of both translation directions.

    "grow-diag" starts from the intersection and repeatedly adds links of the union that
    are horizontal, vertical or diagonal neighbours of links it has. "-final" then adds
    other links, forward first, if either of their words is unaligned; "-final-and" adds
    them if both are.

    Source: Och & Ney 2003 (doi:10.1162/089120103321337421); Koehn, Och & Marcu 2003
    (doi:10.3115/1073445.1073462), as in the pseudocode of the Moses manual,
    training step 3 (www.statmt.org/moses/?n=FactoredTraining.AlignWords).

    Args:
      forward: links (source, target) of one direction.
      reverse: links of the other, also as (source, target).
      method: which links to keep, as above.
      grow: "either" adds a neighbour if at least one of its words is unaligned (Koehn,
        Moses), "both" only if both are (lilt/alignment-scripts).

    Returns:
      The combined links, all sure.

    Raises:
      ValueError: if `method` or `grow` is unknown.

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


def _unaligned(links: set[Link], link: Link, *, both: bool) -> bool:
    """Whether either word of a link, or both, is unaligned."""
    source = all(link[0] != i for i, _ in links)
    target = all(link[1] != j for _, j in links)
    return (source and target) if both else (source or target)


def _grow(links: set[Link], union: frozenset[Link], *, both: bool) -> None:
    """Adds neighbours in sorted order, until a pass over the union adds none."""
    before = -1
    while len(links) > before:
        before = len(links)
        for i, j in sorted(union):  # links added in this pass grow as well
            if (i, j) not in links:
                continue
            for di, dj in _NEIGHBOURS:
                new = i + di, j + dj
                if new in union - links and _unaligned(links, new, both=both):
                    links.add(new)


def _finish(links: set[Link], candidates: Iterable[Link], *, both: bool) -> None:
    """Adds candidates with an unaligned word, or two."""
    for link in candidates:
        if _unaligned(links, link, both=both):
            links.add(link)
