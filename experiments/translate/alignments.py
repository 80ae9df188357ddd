"""Turns attention weights between subwords into word alignments."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from attnjax.align import Alignment, alignment, hard_alignment, merge_subwords
from experiments.datasets.pairs.guided import Row
from experiments.datasets.tokenizers.sentences import Tokenizer

END = "</s>"  # the label of EOS in pictures

OnEnd = Literal["unlinked", "next-best"]


def word_weights(
    weights: np.ndarray,
    source: tuple[Tokenizer, Sequence[int]],
    target: tuple[Tokenizer, Sequence[int]],
    *,
    row: Row = "before",
) -> np.ndarray:
    """Merges attention weights between subwords into weights between words.

    Args:
      weights: of each target id over the source ids, [T, S]; both end with EOS.
      source: tokeniser and ids of the source, without EOS.
      target: tokeniser and ids of the target, without EOS.
      row: which row belongs to a target id: that of the step that predicts it, before
        it is fed to the decoder; or the next one, after it is fed. EOS is never fed:
        "after" leaves it a row of zeros.

    Returns:
      Weights [target words + 1, source words + 1]; the last row and column belong
      to EOS.
    """
    T, S = weights.shape
    if row == "after":
        weights = np.concatenate([weights[1:], np.zeros_like(weights[:1])])
    (source_tokenizer, source_ids), (target_tokenizer, target_ids) = source, target
    return merge_subwords(
        weights,
        [*source_tokenizer.words(source_ids), [S - 1]],
        [*target_tokenizer.words(target_ids), [T - 1]],
    )


def word_links(weights: np.ndarray, *, on_end: OnEnd = "unlinked") -> Alignment:
    """Links each target word to the source word with its largest weight.

    Args:
      weights: between words, EOS in the last row and column, as from
        `word_weights`. EOS has no links.
      on_end: what becomes of a word whose largest weight is on EOS: it has no link, or
        one to the next best, as if the column had been dropped before the maximum.
    """
    rows = weights[:-1]
    if not len(rows):
        return hard_alignment(rows)
    if on_end == "unlinked":
        ended = rows.argmax(axis=1) == weights.shape[1] - 1
        rows = np.where(ended[:, None], 0, rows)
    return hard_alignment(rows[:, :-1])


def flip(links: Alignment) -> Alignment:
    """Exchanges source and target of every link."""
    return alignment(
        ((t, s) for s, t in links.sure), ((t, s) for s, t in links.possible)
    )
