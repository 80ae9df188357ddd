"""From weights between pieces to links between words."""

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
    """Merges weights between pieces into weights between words.

    Args:
      weights: what each target id reads, [T, S], EOS at the end of both sides.
      source: the source's tokeniser and ids, without EOS.
      target: the target's, likewise.

    Returns:
      Weights [target words + 1, source words + 1]; the last row and column are
      those of EOS.
    """
    T, S = weights.shape
    (source_tokenizer, source_ids), (target_tokenizer, target_ids) = source, target
    return merge_subwords(
        weights,
        [*source_tokenizer.words(source_ids), [S - 1]],
        [*target_tokenizer.words(target_ids), [T - 1]],
    )


def word_links(weights: np.ndarray) -> Alignment:
    """Links each target word to the source word it reads most.

    Args:
      weights: between words, the last row and column those of EOS, as from
        `word_weights`. EOS links to nothing: a word that reads it most has no link.
    """
    rows = weights[:-1]
    if not len(rows):
        return hard_alignment(rows)
    reads_end = rows.argmax(axis=1) == weights.shape[1] - 1
    return hard_alignment(np.where(reads_end[:, None], 0, rows)[:, :-1])
