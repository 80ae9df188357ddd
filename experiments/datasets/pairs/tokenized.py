"""Sentence pairs as token ids: their vocabularies, and compact arrays of all ids."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from experiments.datasets.tokenizers.sentences import (
    SentencePiece,
    Tokenizer,
    WordVocabulary,
)
from experiments.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """How sentences become token ids."""

    kind: Literal["unigram", "bpe", "words"] = "unigram"
    """Subword model (unigram or bpe), or a vocabulary of the most frequent words."""
    source_vocab_size: int = 8_000
    """Size of the source vocabulary, or of the joint one."""
    target_vocab_size: int = 8_000
    """Size of the target vocabulary; unused with a joint vocabulary."""
    joint: bool = False
    """Whether both languages share one vocabulary."""

    def train(self, pairs: Iterable[Sequence[str]]) -> tuple[Tokenizer, Tokenizer]:
        """Learns the source's and the target's tokeniser from training pairs.

        Raises:
          UserError: if the text is too small or too varied for these sizes.
        """
        sources, targets = [], []
        for source, target, *_ in pairs:
            sources.append(source)
            targets.append(target)
        if self.joint:
            both = self._train("joint", sources + targets, self.source_vocab_size)
            return both, both
        return (
            self._train("source", sources, self.source_vocab_size),
            self._train("target", targets, self.target_vocab_size),
        )

    def _train(self, side: str, sentences: list[str], vocab_size: int) -> Tokenizer:
        try:
            if self.kind == "words":
                return WordVocabulary.train(sentences, vocab_size)
            return SentencePiece.train(sentences, vocab_size, model=self.kind)
        except UserError as error:
            raise UserError(f"{side} vocabulary: {error}") from error


class TokenizedPair(NamedTuple):
    """A sentence pair as token ids, without BOS, EOS or padding.

    Attributes:
      source: ids of the source, int32 [S].
      target: ids of the target, int32 [T].
    """

    source: np.ndarray
    target: np.ndarray


class RaggedArray(Sequence[np.ndarray]):
    """Rows of different lengths, concatenated in one flat int32 array.

    Lists of Python ints take several times the memory.
    """

    def __init__(self, rows: Iterable[Sequence[int]]) -> None:
        """Copies the rows."""
        lengths: list[int] = []

        # A generator, so that the rows are never in memory as lists all at once.
        def flat() -> Iterable[int]:
            for row in rows:
                lengths.append(len(row))
                yield from row

        self._flat = np.fromiter(flat(), np.int32)
        self.lengths = np.array(lengths, np.int64)
        self._ends = np.cumsum(self.lengths)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        """Returns one row, as a view."""
        end = self._ends[index]
        return self._flat[end - self.lengths[index] : end]


class TokenizedPairs(Sequence[TokenizedPair]):
    """Tokenised sentence pairs with random access.

    Attributes:
      sources: the ids of every source.
      targets: the ids of every target.
      lengths: source and target lengths, without EOS, [N, 2].
    """

    def __init__(
        self, sources: Iterable[Sequence[int]], targets: Iterable[Sequence[int]]
    ) -> None:
        """Copies the ids of both sides.

        Raises:
          ValueError: if the sides have different numbers of rows.
        """
        self.sources, self.targets = RaggedArray(sources), RaggedArray(targets)
        if len(self.sources) != len(self.targets):
            raise ValueError(
                f"targets: expected {len(self.sources)} rows as in sources, got "
                f"{len(self.targets)}"
            )
        self.lengths = np.stack([self.sources.lengths, self.targets.lengths], axis=1)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        """Returns one pair, as views."""
        return TokenizedPair(self.sources[index], self.targets[index])


def tokenize_pairs(
    pairs: Sequence[Sequence[str]], source: Tokenizer, target: Tokenizer
) -> TokenizedPairs:
    """Tokenises sentence pairs.

    Args:
      pairs: source and target text; further elements are ignored.
      source: the source's tokeniser.
      target: the target's tokeniser.

    Returns:
      The pairs as token ids, in the same order.
    """
    return TokenizedPairs(
        (source.tokenize(pair[0]) for pair in pairs),
        (target.tokenize(pair[1]) for pair in pairs),
    )
