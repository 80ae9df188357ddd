"""Translation metrics: BLEU, chrF, exact match, alignment error rate."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from attnjax.align import (
    Alignment,
    AlignmentScore,
    alignment_error_rate,
    parse_pharaoh,
)
from experiments.datasets.pairs.datasets import Pair
from experiments.translate.alignments import word_links

Range = tuple[int, int]  # shortest and longest source, in words


class Bucket(NamedTuple):
    """Metrics of the sentences in a range of source lengths."""

    low: int  # shortest source, in words
    high: int  # longest
    count: int  # type: ignore[assignment]  # not the method of tuples
    bleu: float
    exact_match: float


class Corpus(NamedTuple):
    """Metrics of a test set: BLEU and chrF from 0 to 100, exact match from 0 to 1."""

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
      hypotheses: one for each pair; an empty string is an empty translation.
      bleu_tokenizer: sacrebleu's name: "13a" for text, "none" for text that is
        tokenised already.
      ranges: ranges of source lengths to score separately; by default four with
        about equally many pairs.

    Returns:
      Metrics of the corpus, and of each range that contains a pair.
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
    """Divides source lengths into ranges with about equally many pairs.

    Pairs of equal length stay together, so there may be fewer ranges than `count`.

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
    weights: Sequence[np.ndarray],
    pairs: Sequence[Pair],
    *,
    link: Callable[[np.ndarray], Alignment] = word_links,
) -> AlignmentScore:
    """Computes the AER of argmax links of weights [T, S] against gold links.

    Args:
      weights: of each pair, between words; the last row and column belong to EOS. A
        word whose largest weight is on EOS is left unlinked.
      pairs: pairs with gold alignments.
      link: links the words of a pair by its weights.
    """
    hypotheses = list(map(link, weights))
    return alignment_error_rate(hypotheses, [parse_pharaoh(p.alignment) for p in pairs])


def _bleu_of(
    members: np.ndarray,
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenizer: str,
) -> float:
    chosen = [hypotheses[i] for i in members], [[references[i] for i in members]]
    return BLEU(tokenize=tokenizer).corpus_score(*chosen).score
