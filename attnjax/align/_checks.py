"""Checks of alignment weights, and of the words and links that belong to them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnjax.align._links import Alignment, check_link


def check_alignment(
    weights: Any,
    source_words: Sequence[str],
    target_words: Sequence[str],
    gold: Alignment | None = None,
) -> np.ndarray:
    """Checks that words and gold links fit the weights of an alignment.

    Args:
      weights: attention weights of each target word, shape [T, S].
      source_words: S of them.
      target_words: T of them.
      gold: links between them.

    Returns:
      The weights, shape [T, S], float64, in [0, 1].

    Raises:
      ValueError: if a length or a link does not match the shape of the weights, or a
        weight is not in [0, 1].
    """
    matrix = check_weights(weights)
    check_sides(matrix, source_words, target_words)
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


def check_sides(
    matrix: np.ndarray, source_words: Sequence[str], target_words: Sequence[str]
) -> None:
    """Checks that there is one source word per column and one target word per row."""
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


def check_words(name: str, words: Sequence[Sequence[int]], size: int) -> None:
    """Checks that every word has at least one piece, and only pieces below `size`."""
    for w, pieces in enumerate(words):
        if len(pieces) == 0:
            raise ValueError(f"{name}: expected a piece in every word, got none in {w}")
        for piece in pieces:
            if not 0 <= piece < size:
                raise ValueError(
                    f"{name}: expected positions below {size}, got {piece} in word {w} "
                    "(is the sentence truncated, or are the sides swapped?)"
                )


def check_weights(weights: Any) -> np.ndarray:
    """Returns weights as a float64 matrix [T, S] of finite values."""
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
