"""What a translation is worth: BLEU, chrF, exact match, alignment error."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from attnjax.align import (
    AlignmentScore,
    alignment_error_rate,
    hard_alignment,
    parse_pharaoh,
)
from experiments.datasets.pairs import Pair


class Bucket(NamedTuple):
    """Sentences of like source length, and what they score."""

    low: int  # shortest source, in words
    high: int  # longest
    count: int
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
    buckets: int = 4,
) -> Corpus:
    """Scores hypotheses against the targets of pairs.

    Args:
      pairs: sources and references.
      hypotheses: one for each pair; an empty string scores as nothing written.
      bleu_tokenizer: sacrebleu's name: "13a" for text, "none" for units that are
        separated by blanks already.
      buckets: number of groups of like source length, of about equal counts.

    Returns:
      Corpus scores, and the scores by source length.
    """
    bleu, chrf = BLEU(tokenize=bleu_tokenizer), CHRF()
    references = [pair.target for pair in pairs]
    exact = np.array([h == r for h, r in zip(hypotheses, references, strict=True)])
    total = bleu.corpus_score(hypotheses, [references])
    letters = chrf.corpus_score(hypotheses, [references])
    return Corpus(
        bleu=total.score,
        bleu_signature=str(bleu.get_signature()),
        chrf=letters.score,
        chrf_signature=str(chrf.get_signature()),
        exact_match=float(exact.mean()),
        by_length=[
            Bucket(
                low=low,
                high=high,
                count=len(members),
                bleu=_bleu_of(members, hypotheses, references, bleu_tokenizer),
                exact_match=float(exact[members].mean()),
            )
            for low, high, members in length_buckets(pairs, buckets)
        ],
    )


def length_buckets(
    pairs: Sequence[Pair], buckets: int
) -> list[tuple[int, int, np.ndarray]]:
    """Groups pairs by source length into shortest, longest and indices.

    Pairs of one length are never parted, so there may be fewer groups than asked.
    """
    lengths = np.array([len(pair.source.split()) for pair in pairs])
    cuts = np.quantile(lengths, np.arange(1, buckets) / buckets, method="lower")
    group = np.searchsorted(np.unique(cuts), lengths, side="left")
    members = [np.flatnonzero(group == g) for g in np.unique(group)]
    return [(int(lengths[m].min()), int(lengths[m].max()), m) for m in members]


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
    hypotheses = [_word_links(matrix) for matrix in weights]
    return alignment_error_rate(hypotheses, [parse_pharaoh(p.alignment) for p in pairs])


def _word_links(matrix: np.ndarray):  # type: ignore[no-untyped-def]
    rows = matrix[:-1]
    on_words = rows.argmax(axis=1) < matrix.shape[1] - 1 if len(rows) else []
    return hard_alignment(np.where(np.reshape(on_words, (-1, 1)), rows, 0)[:, :-1])


def _bleu_of(
    members: np.ndarray,
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenizer: str,
) -> float:
    chosen = [hypotheses[i] for i in members], [[references[i] for i in members]]
    return BLEU(tokenize=tokenizer).corpus_score(*chosen).score
