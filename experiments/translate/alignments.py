"""Turns attention weights between subwords into word alignments."""

from collections.abc import Sequence

import numpy as np

from attnjax.align import Alignment, hard_alignment, merge_subwords
from experiments.datasets.tokenizers.sentences import Tokenizer

END = "</s>"  # the label of EOS in pictures


def word_weights(
    weights: np.ndarray,
    source: tuple[Tokenizer, Sequence[int]],
    target: tuple[Tokenizer, Sequence[int]],
) -> np.ndarray:
    """Merges attention weights between subwords into weights between words.

    Args:
      weights: of each target id over the source ids, [T, S]; both end with EOS.
      source: tokeniser and ids of the source, without EOS.
      target: tokeniser and ids of the target, without EOS.

    Returns:
      Weights [target words + 1, source words + 1]; the last row and column belong
      to EOS.
    """
    T, S = weights.shape
    (source_tokenizer, source_ids), (target_tokenizer, target_ids) = source, target
    return merge_subwords(
        weights,
        [*source_tokenizer.words(source_ids), [S - 1]],
        [*target_tokenizer.words(target_ids), [T - 1]],
    )


def word_links(weights: np.ndarray) -> Alignment:
    """Links each target word to the source word with its largest weight.

    Args:
      weights: between words, EOS in the last row and column, as from
        `word_weights`. EOS has no links: nor has a word whose largest weight is on it.
    """
    rows = weights[:-1]
    if not len(rows):
        return hard_alignment(rows)
    on_end = rows.argmax(axis=1) == weights.shape[1] - 1
    return hard_alignment(np.where(on_end[:, None], 0, rows)[:, :-1])
