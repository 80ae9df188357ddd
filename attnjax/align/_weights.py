"""Attention weights as alignments: extract links, merge subwords, copy words."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from attnjax.align._checks import check_sides, check_weights, check_words
from attnjax.align._links import Alignment, alignment


def hard_alignment(
    weights: Any,
    *,
    threshold: float = 0.0,
    drop_source: Collection[int] = (),
    drop_target: Collection[int] = (),
) -> Alignment:
    """Links every target position to the source position with the largest weight.

    A target position without a weight above the threshold has no link; in particular a
    row of zeros, which attends to nothing. Of equal weights the first is linked.

    Args:
      weights: attention weights of each target position, shape [T, S].
      threshold: a link needs a weight above it.
      drop_source: columns that are never linked, such as -1 for a final EOS; the best
        of the other columns is linked instead.
      drop_target: rows that are never linked.

    Returns:
      The links, all sure.

    Raises:
      ValueError: if weights are not a finite matrix, or lack a dropped position.

    Example:
      >>> from attnjax.align import format_pharaoh
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

    Suits weights with exact zeros (sparsemax); arguments as `hard_alignment`.

    Example:
      >>> from attnjax.align import format_pharaoh
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
    r"""Merges weights between subwords into weights between words.

    .. math:: W_{vw} = \frac{1}{|v|} \sum_{t \in v} \sum_{s \in w} w_{ts}

    Weights are summed over the pieces of a source word and averaged over those of a
    target word. Rows are not renormalised: the weight of a piece that belongs to no
    word (EOS) is dropped, and the row sums to less than 1. "max" takes the maximum over
    the pieces of a target word; rows with a sum above 1 are then scaled down to 1.

    Source: Koehn & Knowles 2017 (arXiv:1706.03872), on word alignment; Clark et
    al. 2019 (arXiv:1906.04341), on attention between words.

    Args:
      weights: attention weights of each target piece, shape [T, S].
      source_words: the columns of each source word; a column may be in no word.
      target_words: the rows of each target word; a row may be in no word.
      target: how to reduce over the pieces of a target word.

    Returns:
      Weights, shape [target words, source words], float64.

    Raises:
      ValueError: if a word has no piece, or a piece is not in weights.

    Example:
      >>> merge_subwords([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], [[0, 1], [2]], [[0, 1]])
      array([[0.75, 0.25]])
    """
    pieces = check_weights(weights)
    if target not in ("mean", "max"):
        raise ValueError(f"target: expected 'mean' or 'max', got {target!r}")
    check_words("source_words", source_words, pieces.shape[1])
    check_words("target_words", target_words, pieces.shape[0])
    merged = np.zeros((len(target_words), len(source_words)))
    for w, columns in enumerate(source_words):
        summed = pieces[:, list(columns)].sum(axis=1)
        for v, rows in enumerate(target_words):
            merged[v, w] = getattr(summed[list(rows)], target)()
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
    """Replaces unknown target words by their aligned source word or its translation.

    The aligned source word is that of `hard_alignment`; a row of zeros stays unknown.
    For subwords merge the weights first (`merge_subwords`).

    Source: Luong et al. 2015 (arXiv:1410.8206), for the dictionary and the copy; Jean
    et al. 2015 (arXiv:1412.2007), for finding the source word by attention.

    Args:
      source_words: the source, without EOS.
      target_words: the hypothesis, without EOS.
      weights: attention weights of each target word, shape [T, S].
      unk: the token that stands for unknown words.
      dictionary: source word -> target word; a word that it does not have is copied.

    Returns:
      The target words, with unknown ones replaced.

    Raises:
      ValueError: if the numbers of words do not match the shape of the weights.

    Example:
      >>> weights = [[0.9, 0.1], [0.2, 0.8]]
      >>> replace_unknown(["Guten", "Zoë"], ["Hello", "<unk>"], weights, unk="<unk>")
      ['Hello', 'Zoë']
    """
    check_sides(check_weights(weights), source_words, target_words)
    aligned = {t: source_words[s] for s, t in hard_alignment(weights).sure}
    translations = {} if dictionary is None else dictionary
    return [
        translations.get(aligned[t], aligned[t])
        if word == unk and t in aligned
        else word
        for t, word in enumerate(target_words)
    ]


def _kept(
    weights: Any, drop_source: Collection[int], drop_target: Collection[int]
) -> np.ndarray:
    """Returns the weights with -inf in dropped rows and columns."""
    kept = check_weights(weights).copy()
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
