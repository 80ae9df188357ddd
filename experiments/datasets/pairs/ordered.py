"""Batches for evaluation and decoding: everything once, and nothing at random.

Batches come in an order that saves padding; their indices say whose row is whose.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from experiments.datasets.pairs import bucketing
from experiments.datasets.pairs.batching import (
    FILLER,
    Batch,
    Ids,
    fill,
    lengths_of,
    write_row,
)
from experiments.datasets.pairs.bucketing import Shape
from experiments.datasets.tokenizers.sentences import PAD
from experiments.errors import UserError

SOURCE_LENGTHS = (8, 16, 24, 32, 48, 64)  # and on in steps of 32


class OrderedBatch(NamedTuple):
    """A batch that knows where its rows come from.

    Attributes:
      indices: the index of each row's example, -1 for a row of only PAD, [B].
      batch: the ids.
    """

    indices: np.ndarray
    batch: Batch


def ordered_batches(
    examples: Sequence[tuple[Ids, Ids]], shapes: Sequence[Shape]
) -> Iterator[OrderedBatch]:
    """Makes batches for evaluation: every example once, shape by shape, in order.

    Args:
      examples: ids of source and target, without EOS.
      shapes: the shapes to use, such as those of the training batches.

    Yields:
      Batches of these shapes with the indices of their examples.

    Raises:
      UserError: if an example fits none of the shapes.
    """
    lengths = lengths_of(examples) + 1
    chosen = bucketing.assign(lengths, shapes)
    if (chosen < 0).any():
        worst = int(np.flatnonzero(chosen < 0)[0])
        raise UserError(
            f"example {worst}: expected lengths that fit one of the shapes "
            f"{[tuple(s) for s in shapes]}, got {lengths[worst].tolist()}"
        )
    for k, shape in enumerate(shapes):
        members = np.flatnonzero(chosen == k)
        for start in range(0, len(members), shape.rows):
            some = members[start : start + shape.rows]
            indices = np.pad(some, (0, shape.rows - len(some)), constant_values=FILLER)
            yield OrderedBatch(indices, fill(examples, indices, shape))


def source_batches(
    sources: Sequence[Sequence[int]], *, rows: int = 64, row_multiple: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Makes batches of sources alone, for decoding: of like lengths, longest first.

    Lengths are padded up to a fixed ladder, so that few shapes are compiled; fewer
    sentences than `rows` get a smaller batch, of a power of two.

    Args:
      sources: ids of each sentence, without EOS.
      rows: most rows of a batch.
      row_multiple: number that divides the rows of every batch.

    Yields:
      The sentences' indices [B], -1 for a row of only PAD, and their ids with EOS,
      int32 [B, S].
    """
    order = sorted(range(len(sources)), key=lambda i: (-len(sources[i]), i))
    few = row_multiple * (1 << max(0, -(-len(order) // row_multiple) - 1).bit_length())
    rows = min(max(rows // row_multiple, 1) * row_multiple, few)
    for start in range(0, len(order), rows):
        some = order[start : start + rows]
        width = ladder_length(len(sources[some[0]]) + 1)
        indices = np.full(rows, FILLER)
        indices[: len(some)] = some
        ids = np.full((rows, width), PAD, np.int32)
        for row, index in enumerate(some):
            write_row(ids[row], sources[index])
        yield indices, ids


def ladder_length(length: int) -> int:
    """Rounds a length up to the next one that sources are padded to."""
    for step in SOURCE_LENGTHS:
        if length <= step:
            return step
    return -(-length // 32) * 32
