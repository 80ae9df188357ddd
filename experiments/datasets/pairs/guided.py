"""Batches with links between tokens, which guided alignment trains attention on."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from attnjax.align import Alignment
from experiments.datasets.pairs.batching import PADDING_ROW, Batch, Ids, pad_batch
from experiments.datasets.pairs.bucketing import Shape
from experiments.datasets.pairs.tokenized import RaggedArray, TokenizedPair
from experiments.datasets.tokenizers.sentences import Tokenizer
from experiments.errors import UserError

Unaligned = Literal["free", "eos"]
Row = Literal["before", "after"]


class GuidedBatch(NamedTuple):
    """A batch, and the links between its tokens.

    Attributes:
      source: source ids with EOS, then PAD, int32 [B, S].
      target: target ids with EOS, then PAD, int32 [B, T].
      links: True where a target token is linked to a source token, bool [B, T, S].
    """

    source: np.ndarray
    target: np.ndarray
    links: np.ndarray


class TokenLinks:
    """Links between the tokens of many pairs; makes their batches.

    A link between two words links every token of the one to every token of the other.
    """

    def __init__(
        self,
        alignments: Sequence[Alignment],
        examples: Sequence[TokenizedPair],
        tokenizers: tuple[Tokenizer, Tokenizer],
        *,
        unaligned: Unaligned = "free",
        row: Row = "before",
    ) -> None:
        """Converts links between words to links between tokens.

        Args:
          alignments: links between the words of each pair.
          examples: the pairs as token ids, without EOS.
          tokenizers: of source and target.
          unaligned: whether a target word without links, and EOS, may attend to
            anything ("free"), or is linked to the source's EOS ("eos").
          row: which of the decoder's steps is linked, that which predicts a token, or
            the next one, to which it is fed ("after"); EOS is never fed.

        Raises:
          UserError: if the tokens of a pair have fewer words than its links.
        """
        self._shift = 1 if row == "after" else 0
        self._rows = RaggedArray(
            list(_flat(number, links, pair, tokenizers, unaligned))
            for number, (links, pair) in enumerate(
                zip(alignments, examples, strict=True), start=1
            )
        )

    def pad_batch(
        self, examples: Sequence[tuple[Ids, Ids]], indices: np.ndarray, shape: Shape
    ) -> GuidedBatch:
        """Makes a batch as `batching.pad_batch` does, with its links."""
        batch: Batch = pad_batch(examples, indices, shape)
        links = np.zeros((len(indices), shape.target, shape.source), bool)
        for row, index in enumerate(indices.tolist()):
            if index != PADDING_ROW:
                pairs = self._rows[index].reshape(-1, 2)  # [2*N] -> [N, 2]
                steps = pairs[:, 1] + self._shift
                fed = steps <= len(examples[index][1])  # all but EOS
                links[row, steps[fed], pairs[fed, 0]] = True
        return GuidedBatch(*batch, links)


def _flat(
    number: int,
    links: Alignment,
    pair: TokenizedPair,
    tokenizers: tuple[Tokenizer, Tokenizer],
    unaligned: Unaligned,
) -> Iterator[int]:
    """Yields source and target positions of a pair's links, by turns."""
    sides = zip(tokenizers, pair, strict=True)
    source, target = (tokenizer.words(ids.tolist()) for tokenizer, ids in sides)
    for s, t in sorted(links.sure | links.possible):
        if s >= len(source) or t >= len(target):
            raise UserError(
                f"line {number}: expected the link {s}-{t} within {len(source)} source "
                f"and {len(target)} target words of the tokeniser (separate words by "
                "blanks)"
            )
        yield from _product(source[s], target[t])
    if unaligned == "eos":
        linked = {t for _, t in links.sure | links.possible}
        end = [len(pair.source)]
        for t in set(range(len(target))) - linked:
            yield from _product(end, target[t])
        yield from _product(end, [len(pair.target)])


def _product(source: Iterable[int], target: Sequence[int]) -> Iterator[int]:
    for s in source:
        for t in target:
            yield s
            yield t
