"""Turns attention weights between subwords into word alignments."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from attnjax.align import Alignment, alignment, hard_alignment, merge_subwords
from experiments.datasets.pairs.guided import Row
from experiments.datasets.tokenizers.sentences import Tokenizer
from experiments.errors import UserError
from experiments.translate.config import Config, GuidedAlignmentConfig

END = "</s>"  # the label of EOS in pictures

OnEnd = Literal["unlinked", "next-best"]


class Extraction(NamedTuple):
    """How weights of a model become weights between words, and links.

    What is not given is what the run's attention was trained on, if it was guided.
    """

    layer: int | None = None  # of a Transformer's decoder; None is its own choice
    heads: tuple[int, ...] = ()  # whose mean is taken; by default all
    row: Row | None = None  # by default "before"
    on_end: OnEnd = "unlinked"

    def of_run(self, config: Config) -> "Extraction":
        """Fills in what is not given."""
        guided = config.guided_alignment
        if guided.links is None:
            guided = GuidedAlignmentConfig()
        return self._replace(
            layer=guided.layer if self.layer is None else self.layer,
            heads=self.heads or guided.heads,
            row=self.row or guided.row,
        )

    def words(
        self,
        weights: np.ndarray,
        source: tuple[Tokenizer, Sequence[int]],
        target: tuple[Tokenizer, Sequence[int]],
    ) -> np.ndarray:
        """Merges weights between subwords, as `word_weights` with the row."""
        return word_weights(weights, source, target, row=self.row or "before")

    def links(self, weights: np.ndarray) -> Alignment:
        """Links each target word to a source word."""
        return word_links(weights, on_end=self.on_end)


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


def check_words(number: int, side: str, text: str, size: int) -> None:
    """Checks that the tokeniser's words are those of a text.

    Args:
      number: of the line, from 0.
      side: of the text, source or target.
      text: a line.
      size: number of the tokeniser's words.

    Raises:
      UserError: if the text has more or fewer.
    """
    words = len(text.split())
    if words != size:
        raise UserError(
            f"line {number + 1}: expected {words} words in the {side}, got {size} from "
            "the tokeniser (remove its characters that are no letters, digits or signs)"
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
