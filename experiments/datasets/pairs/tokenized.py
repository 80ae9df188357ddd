"""From sentence pairs to ids: vocabularies made of them, then pairs as arrays."""

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
    """How text becomes ids."""

    kind: Literal["unigram", "bpe", "words"] = "unigram"
    """Subword pieces (unigram or bpe), or the most frequent whole words."""
    source_size: int = 8_000
    """Ids of the source vocabulary; also of the joint one."""
    target_size: int = 8_000
    """Ids of the target vocabulary; not used if joint."""
    joint: bool = False
    """One vocabulary for both languages."""

    def train(self, pairs: Iterable[Sequence[str]]) -> tuple[Tokenizer, Tokenizer]:
        """Makes the source's and the target's tokeniser from training pairs.

        Raises:
          UserError: if the text does not support vocabularies of these sizes.
        """
        sources, targets = [], []
        for source, target, *_ in pairs:
            sources.append(source)
            targets.append(target)
        if self.joint:
            both = self._train("joint", sources + targets, self.source_size)
            return both, both
        return (
            self._train("source", sources, self.source_size),
            self._train("target", targets, self.target_size),
        )

    def _train(self, side: str, sentences: list[str], vocab_size: int) -> Tokenizer:
        try:
            if self.kind == "words":
                return WordVocabulary.train(sentences, vocab_size)
            return SentencePiece.train(sentences, vocab_size, model=self.kind)
        except UserError as error:
            raise UserError(f"{side} vocabulary: {error}") from error


class Example(NamedTuple):
    """A pair as ids, without BOS, EOS or padding.

    Attributes:
      source: ids of the source, int32.
      target: ids of the target, int32.
    """

    source: np.ndarray
    target: np.ndarray


class Ragged(Sequence[np.ndarray]):
    """Rows of different lengths in one flat array: 4 bytes an id."""

    def __init__(self, rows: Iterable[Sequence[int]]) -> None:
        """Copies the rows."""
        lengths: list[int] = []

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
        """Gives one row, as a view."""
        end = self._ends[index]
        return self._flat[end - self.lengths[index] : end]


class Encoded(Sequence[Example]):
    """Encoded pairs with random access.

    Attributes:
      lengths: of source and target, without EOS, [N, 2].
    """

    def __init__(
        self, sources: Iterable[Sequence[int]], targets: Iterable[Sequence[int]]
    ) -> None:
        """Copies the ids of both sides.

        Raises:
          ValueError: if the sides have different numbers of rows.
        """
        self._sources, self._targets = Ragged(sources), Ragged(targets)
        if len(self._sources) != len(self._targets):
            raise ValueError(
                f"targets: expected {len(self._sources)} rows as in sources, got "
                f"{len(self._targets)}"
            )
        self.lengths = np.stack([self._sources.lengths, self._targets.lengths], axis=1)

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        """Gives one example, as views."""
        return Example(self._sources[index], self._targets[index])


def encode_pairs(
    pairs: Sequence[Sequence[str]], source: Tokenizer, target: Tokenizer
) -> Encoded:
    """Encodes pairs of sentences.

    Args:
      pairs: source and target text; whatever follows is ignored.
      source: the source's tokeniser.
      target: the target's tokeniser.

    Returns:
      The pairs as ids, in the same order.
    """
    return Encoded(
        (source.encode(pair[0]) for pair in pairs),
        (target.encode(pair[1]) for pair in pairs),
    )
