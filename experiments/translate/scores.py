"""What a translation is worth: BLEU, chrF, exact match, alignment error."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from attnjax.align import AlignmentScore, alignment_error_rate, parse_pharaoh
from experiments.datasets.pairs.datasets import Pair
from experiments.translate.alignments import word_links

Range = tuple[int, int]  # shortest and longest source, in words


class Bucket(NamedTuple):
    """Sentences of like source length, and what they score."""

    low: int  # shortest source, in words
    high: int  # longest
    count: int  # type: ignore[assignment]  # not the method of tuples
    bleu: float
    exact_match: float


class Corpus(NamedTuple):
    """Scores of a test set; percentages are of 100, shares of 1."""

    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    exact_match: float
    by_length: list[Bucket]


def score_corpus(
    pairs: Sequence[Pair],
    hypotheses: Sequence[str],
    *,
    bleu_tokenizer: str = "13a",
    ranges: Sequence[Range] | None = None,
) -> Corpus:
    """Scores hypotheses against the targets of pairs.

    Args:
      pairs: sources and references.
      hypotheses: one for each pair; an empty string scores as nothing written.
      bleu_tokenizer: sacrebleu's name: "13a" for text, "none" for units that are
        separated by blanks already.
      ranges: the source lengths to score apart; by default four of about equal
        counts.

    Returns:
      Corpus scores, and the scores by source length, where there is any pair.
    """
    bleu, chrf = BLEU(tokenize=bleu_tokenizer), CHRF()
    references = [pair.target for pair in pairs]
    exact = np.array(
        [h.split() == r.split() for h, r in zip(hypotheses, references, strict=True)]
    )
    total = bleu.corpus_score(hypotheses, [references])
    letters = chrf.corpus_score(hypotheses, [references])
    lengths = _source_lengths(pairs)
    buckets = []
    for low, high in length_ranges(pairs) if ranges is None else ranges:
        (members,) = np.nonzero((low <= lengths) & (lengths <= high))
        if len(members):
            score = _bleu_of(members, hypotheses, references, bleu_tokenizer)
            right = float(exact[members].mean())
            buckets.append(Bucket(low, high, len(members), score, right))
    return Corpus(
        bleu=total.score,
        bleu_signature=str(bleu.get_signature()),
        chrf=letters.score,
        chrf_signature=str(chrf.get_signature()),
        exact_match=float(exact.mean()),
        by_length=buckets,
    )


def length_ranges(pairs: Sequence[Pair], count: int = 4) -> list[Range]:
    """Cuts source lengths into ranges, each with about as many pairs.

    Pairs of one length are never parted, so there may be fewer ranges than asked.

    Example:
      >>> length_ranges([Pair("a " * n, "") for n in (2, 3, 3, 3, 5, 8, 9, 9)])
      [(2, 3), (4, 8), (9, 9)]
    """
    lengths = _source_lengths(pairs)
    shares = np.arange(1, count + 1) / count
    ends = np.unique(np.quantile(lengths, shares, method="inverted_cdf")).tolist()
    starts = [int(lengths.min()), *(end + 1 for end in ends[:-1])]
    return list(zip(starts, ends, strict=True))


def _source_lengths(pairs: Sequence[Pair]) -> np.ndarray:
    return np.array([len(pair.source.split()) for pair in pairs])


def score_alignments(
    weights: Sequence[np.ndarray], pairs: Sequence[Pair]
) -> AlignmentScore:
    """Scores the argmax links of weights [T, S] between words against gold links.

    Args:
      weights: of each pair, over its words; there is a row and a column for EOS at
        the end, which link to nothing: a word whose largest weight is on EOS is
        left unlinked.
      pairs: with gold alignments.
    """
    hypotheses = [word_links(matrix) for matrix in weights]
    return alignment_error_rate(hypotheses, [parse_pharaoh(p.alignment) for p in pairs])


def _bleu_of(
    members: np.ndarray,
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenizer: str,
) -> float:
    chosen = [hypotheses[i] for i in members], [[references[i] for i in members]]
    return BLEU(tokenize=tokenizer).corpus_score(*chosen).score
