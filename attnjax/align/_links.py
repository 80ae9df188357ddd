"""Links between the words of two sentences, and the alignment error rate.

A link is a pair (source position, target position), both from 0.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Link = tuple[int, int]


class Alignment(NamedTuple):
    """The links of one sentence pair; those of a model are all sure."""

    sure: frozenset[Link]
    possible: frozenset[Link]  # includes the sure ones


class AlignmentScore(NamedTuple):
    """Links of a corpus against gold links; ratios in [0, 1]."""

    aer: float
    precision: float
    recall: float
    links: int  # number of proposed links


def alignment(sure: Iterable[Link], possible: Iterable[Link] = ()) -> Alignment:
    """Makes an alignment; possible links always include the sure ones.

    Example:
      >>> alignment([(0, 1)], possible=[(2, 2)]).possible == {(0, 1), (2, 2)}
      True
    """
    sure = frozenset(sure)
    return Alignment(sure, sure | frozenset(possible))


def alignment_error_rate(
    hypotheses: Sequence[Alignment], references: Sequence[Alignment]
) -> AlignmentScore:
    r"""Compares links with gold links, summed over the corpus.

    .. math:: AER = 1 - \frac{|A \cap S| + |A \cap P|}{|A| + |S|}

    with A the proposed links, S the sure and P the possible gold links (S in P);
    precision is |A ∩ P| / |A| and recall |A ∩ S| / |S|. A ratio with denominator 0 is
    0; without proposed links and sure gold links the scores are perfect.

    Source: Och & Ney 2003 (doi:10.1162/089120103321337421).

    Raises:
      ValueError: if there are more or fewer hypotheses than references.

    Example:
      >>> gold = alignment([(0, 0)], possible=[(1, 1)])
      >>> alignment_error_rate([alignment([(0, 0), (1, 1), (2, 2)])], [gold]).aer
      0.25
    """
    if len(hypotheses) != len(references):
        raise ValueError(
            f"hypotheses: expected {len(references)} alignments (as in references), "
            f"got {len(hypotheses)} (one per sentence pair, even if it is empty)"
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


def check_link(name: str, link: Link, source: int | None, target: int | None) -> None:
    """Checks that a link lies within sentences of these lengths, where given."""
    sides = ("source", link[0], source), ("target", link[1], target)
    for side, position, length in sides:
        if length is not None and not 0 <= position < length:
            raise ValueError(
                f"{name}: expected {side} positions below {length}, got {position} in "
                f"{link[0]}-{link[1]} (count from 0, source first; are the sides "
                "swapped?)"
            )
