"""What to do with alignments: read, write, harden, merge, symmetrise, score, copy.

A link is a pair (source position, target position), both from 0, as in the
Pharaoh format; an array of weights is `[T, S]`, targets first, as everywhere in
the library. NumPy and the standard library only: nothing here is traced. Finding
alignments is the models' work, drawing them is `viz`'s.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from attnjax.align._pharaoh import (
    Alignment,
    AlignmentScore,
    Link,
    alignment,
    alignment_error_rate,
    check_link,
    format_pharaoh,
    parse_pharaoh,
    read_pharaoh,
    write_pharaoh,
)
from attnjax.align._symmetrise import symmetrise

__all__ = [
    "Alignment",
    "AlignmentScore",
    "Link",
    "alignment",
    "alignment_error_rate",
    "check_picture",
    "format_pharaoh",
    "hard_alignment",
    "merge_subwords",
    "parse_pharaoh",
    "read_pharaoh",
    "replace_unknown",
    "sparse_alignment",
    "symmetrise",
    "write_pharaoh",
]


def hard_alignment(
    weights: Any,
    *,
    threshold: float = 0.0,
    drop_source: Collection[int] = (),
    drop_target: Collection[int] = (),
) -> Alignment:
    """Links every target position to the source position it weighs most.

    A target links to nothing if no weight is above the threshold, so a row of
    zeros (nothing attended to) has no link. Of equal weights the first wins.

    Args:
      weights: what each target reads, shape [T, S].
      threshold: the largest weight that is still no link.
      drop_source: columns that cannot be linked, such as -1 for a last EOS; the
        best of the others is linked instead.
      drop_target: rows that have no link, likewise.

    Raises:
      ValueError: if weights has another rank or NaNs, or there is no such column.

    Example:
      >>> format_pharaoh(hard_alignment([[0.1, 0.9], [0.0, 0.0], [0.8, 0.2]]))
      '0-2 1-0'
    """
    kept = _kept(weights, drop_source, drop_target)
    if kept.shape[1] == 0:
        return alignment([])
    best = kept.argmax(axis=1)
    high = kept.max(axis=1) > threshold
    return alignment((int(best[t]), int(t)) for t in np.flatnonzero(high))


def sparse_alignment(
    weights: Any,
    *,
    threshold: float = 0.0,
    drop_source: Collection[int] = (),
    drop_target: Collection[int] = (),
) -> Alignment:
    """Links every target to all source positions with a weight above the threshold.

    Made for weights with true zeros (sparsemax); arguments as `hard_alignment`.

    Example:
      >>> format_pharaoh(sparse_alignment([[0.4, 0.6, 0.0], [0.0, 0.0, 1.0]]))
      '0-0 1-0 2-1'
    """
    kept = _kept(weights, drop_source, drop_target)
    return alignment((int(s), int(t)) for t, s in np.argwhere(kept > threshold))


def merge_subwords(
    weights: Any,
    source_words: Sequence[Sequence[int]],
    target_words: Sequence[Sequence[int]],
    *,
    target: Literal["mean", "max"] = "mean",
) -> np.ndarray:
    r"""Merges weights between pieces into weights between words.

    .. math:: W_{vw} = \frac{1}{|v|} \sum_{t \in v} \sum_{s \in w} w_{ts}

    A word is read as much as its pieces together, and reads what its pieces read
    on average, so rows keep their sum and are not renormalised: weight on a piece
    of no word (EOS) is dropped, and the row sums to that much less than 1. "max"
    takes the largest instead of the mean; its rows are scaled down to sum to 1
    where they would exceed it.

    Source: Koehn & Knowles 2017 (arXiv:1706.03872), on word alignment; Clark et
    al. 2019 (arXiv:1906.04341), on attention between words.

    Args:
      weights: what each target piece reads, shape [T, S].
      source_words: the columns of each source word; some may be in no word.
      target_words: the rows of each target word, likewise.
      target: how the pieces of a target word are joined.

    Returns:
      Weights, shape [target words, source words], float64.

    Raises:
      ValueError: if a word has no piece, or a piece is not in weights.

    Example:
      >>> merge_subwords([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], [[0, 1], [2]], [[0, 1]])
      array([[0.75, 0.25]])
    """
    pieces = _matrix(weights)
    if target not in ("mean", "max"):
        raise ValueError(f"target: expected 'mean' or 'max', got {target!r}")
    _check_words("source_words", source_words, pieces.shape[1])
    _check_words("target_words", target_words, pieces.shape[0])
    merged = np.zeros((len(target_words), len(source_words)))
    for w, columns in enumerate(source_words):
        read = pieces[:, list(columns)].sum(axis=1)
        for v, rows in enumerate(target_words):
            merged[v, w] = getattr(read[list(rows)], target)()
    if target == "max":
        merged /= np.maximum(merged.sum(axis=1, keepdims=True), 1.0)
    return merged


def replace_unknown(
    source_words: Sequence[str],
    target_words: Sequence[str],
    weights: Any,
    *,
    unk: str,
    dictionary: Mapping[str, str] | None = None,
) -> list[str]:
    """Replaces unknown target words by what they read most, or its translation.

    A target that reads nothing (a row of zeros) stays unknown; of equal weights the
    first wins. For pieces of words merge the weights first (`merge_subwords`).

    Source: Luong et al. 2015 (arXiv:1410.8206), for the dictionary and the copy; Jean
    et al. 2015 (arXiv:1412.2007), for finding the source word by attention.

    Args:
      source_words: the source, without EOS.
      target_words: the hypothesis, without EOS.
      weights: what each target word reads, shape [T, S].
      unk: the word that stands for the unknown ones.
      dictionary: source word -> target word; what is not in it is copied.

    Returns:
      The target words, unknown ones replaced.

    Raises:
      ValueError: if the words do not fit the weights.

    Example:
      >>> weights = [[0.9, 0.1], [0.2, 0.8]]
      >>> replace_unknown(["Guten", "Zoë"], ["Hello", "<unk>"], weights, unk="<unk>")
      ['Hello', 'Zoë']
    """
    _check_sides(_matrix(weights), source_words, target_words)
    read = {t: source_words[s] for s, t in hard_alignment(weights).sure}
    known = {} if dictionary is None else dictionary
    return [
        known.get(read[t], read[t]) if word == unk and t in read else word
        for t, word in enumerate(target_words)
    ]


def check_picture(
    weights: Any,
    source_words: Sequence[str],
    target_words: Sequence[str],
    gold: Alignment | None = None,
) -> np.ndarray:
    """Checks what a picture of an alignment is drawn from.

    Returns:
      The weights, shape [T, S], float64, in [0, 1].

    Raises:
      ValueError: if the words or gold links do not fit the weights.
    """
    matrix = _matrix(weights)
    _check_sides(matrix, source_words, target_words)
    T, S = matrix.shape
    if matrix.size == 0:
        raise ValueError(f"weights: expected a word on each side, got shape [{T}, {S}]")
    if matrix.min() < -0.01 or matrix.max() > 1.01:  # bfloat16 may round past 1
        raise ValueError(
            "weights: expected values from 0 to 1, got "
            f"{matrix.min():.3g} to {matrix.max():.3g} (scores? use their softmax)"
        )
    for link in () if gold is None else sorted(gold.possible | gold.sure):
        check_link("gold", link, S, T)
    return matrix.clip(0.0, 1.0)


def _check_sides(
    matrix: np.ndarray, source_words: Sequence[str], target_words: Sequence[str]
) -> None:
    T, S = matrix.shape
    for name, words, n, axis in (
        ("source_words", source_words, S, "column"),
        ("target_words", target_words, T, "row"),
    ):
        if isinstance(words, str) or len(words) != n:
            got = "one string" if isinstance(words, str) else len(words)
            raise ValueError(
                f"{name}: expected {n} words, got {got} (one per {axis} of weights, "
                "which has the shape [targets, sources])"
            )


def _check_words(name: str, words: Sequence[Sequence[int]], size: int) -> None:
    for w, pieces in enumerate(words):
        if len(pieces) == 0:
            raise ValueError(f"{name}: expected a piece in every word, got none in {w}")
        for piece in pieces:
            if not 0 <= piece < size:
                raise ValueError(
                    f"{name}: expected positions below {size}, got {piece} in word {w} "
                    "(is the sentence cut, or are the sides swapped?)"
                )


def _matrix(weights: Any) -> np.ndarray:
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.ndim != 2:
        got = ", ".join(map(str, matrix.shape))
        raise ValueError(
            f"weights: expected shape [T, S], got [{got}] (one sentence at a time)"
        )
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise ValueError(
            f"weights: expected finite values, got NaN or inf in row {row}"
        )
    return matrix


def _kept(
    weights: Any, drop_source: Collection[int], drop_target: Collection[int]
) -> np.ndarray:
    """The weights, with -inf where no link may be."""
    kept = _matrix(weights).copy()
    for name, dropped, axis in (
        ("drop_source", drop_source, 1),
        ("drop_target", drop_target, 0),
    ):
        size = kept.shape[axis]
        for position in dropped:
            if not -size <= position < size:
                raise ValueError(
                    f"{name}: expected positions of weights, which has {size}, got "
                    f"{position} (-1 is the last)"
                )
            kept[(slice(None), position) if axis else position] = -np.inf
    return kept
