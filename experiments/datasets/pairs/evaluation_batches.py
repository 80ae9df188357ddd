"""Batches for evaluation and for decoding: each example once, nothing at random.

Batches come in an order that saves padding; their indices restore the original one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.datasets.pairs import bucketing
from experiments.datasets.pairs.batching import (
    PADDING_ROW,
    Batch,
    Ids,
    example_lengths,
    fill_row,
    pad_batch,
)
from experiments.datasets.pairs.bucketing import Shape
from experiments.datasets.tokenizers.sentences import PAD
from experiments.errors import UserError

PADDED_LENGTHS = (8, 16, 24, 32, 48, 64)  # then every multiple of 32


class EvaluationBatch(NamedTuple):
    """A batch and the examples of its rows.

    Attributes:
      indices: the index of each row's example, -1 for a row of only PAD, [B].
      batch: the token ids.
    """

    indices: np.ndarray
    batch: Batch


def pad_sources(sources: Sequence[Ids], indices: np.ndarray, length: int) -> np.ndarray:
    """Copies the sources of these indices, with EOS; a row of index -1 is only PAD."""
    ids = np.full((len(indices), length), PAD, np.int32)
    for row, index in enumerate(indices.tolist()):
        if index != PADDING_ROW:
            fill_row(ids[row], sources[index])
    return ids


def evaluation_batches(
    examples: Sequence[tuple[Ids, Ids]],
    shapes: Sequence[Shape],
    *,
    pad: Callable[..., Any] = pad_batch,
) -> Iterator[EvaluationBatch]:
    """Makes batches of pairs for evaluation: shape by shape, in the given order.

    Args:
      examples: source and target ids, without EOS.
      shapes: the shapes to use, such as those of the training batches, which are
        compiled already.
      pad: makes a batch of examples, indices and shape.

    Yields:
      Batches of these shapes with the indices of their examples.

    Raises:
      UserError: if an example fits none of the shapes.
    """
    lengths = example_lengths(examples) + 1  # EOS
    bucket_of = bucketing.assign_buckets(lengths, shapes)
    too_long = np.flatnonzero(bucket_of == bucketing.NO_BUCKET)
    if len(too_long):
        first = int(too_long[0])
        raise UserError(
            f"example {first}: expected lengths that fit one of the shapes "
            f"{[tuple(s) for s in shapes]}, got {lengths[first].tolist()}"
        )
    for k, shape in enumerate(shapes):
        members = np.flatnonzero(bucket_of == k)
        for start in range(0, len(members), shape.rows):
            some = members[start : start + shape.rows]
            empty = shape.rows - len(some)
            indices = np.pad(some, (0, empty), constant_values=PADDING_ROW)
            yield EvaluationBatch(indices, pad(examples, indices, shape))


def source_batches(
    sources: Sequence[Ids],
    *,
    rows: int = 64,
    row_multiple: int = 1,
    max_length: int | None = None,
    pad: Callable[[Sequence[Ids], np.ndarray, int], Any] = pad_sources,
) -> Iterator[tuple[np.ndarray, Any]]:
    """Makes batches of source sentences only, for decoding, the longest first.

    Sentences of similar length share a batch. Lengths are padded to one of a few, so
    that few shapes are compiled; fewer sentences than `rows` get a smaller batch, whose
    size is `row_multiple` times a power of two for the same reason.

    Args:
      sources: ids of each sentence, without EOS.
      rows: largest number of rows of a batch.
      row_multiple: number that must divide the rows of every batch.
      max_length: largest number of positions, EOS included, that sources are padded
        to; no sentence may be longer. None sets no limit.
      pad: makes a batch of sources, indices and length.

    Yields:
      The sentences' indices [B], -1 for a row of only PAD, and their ids with EOS,
      int32 [B, S].
    """
    # Longest first, so that a batch too large for memory fails at once.
    order = sorted(range(len(sources)), key=lambda i: (-len(sources[i]), i))
    groups = -(-len(order) // row_multiple)  # of row_multiple rows, rounded up
    enough = row_multiple * (1 << max(0, groups - 1).bit_length())  # a power of two
    rows = min(max(rows // row_multiple, 1) * row_multiple, enough)
    for start in range(0, len(order), rows):
        some = order[start : start + rows]
        length = padded_length(len(sources[some[0]]) + 1)  # EOS
        if max_length is not None:  # no source is longer, so none is cut
            length = min(length, max_length)
        indices = np.full(rows, PADDING_ROW)
        indices[: len(some)] = some
        yield indices, pad(sources, indices, length)


def padded_length(length: int) -> int:
    """Rounds a length up to the next one that sources are padded to."""
    for padded in PADDED_LENGTHS:
        if length <= padded:
            return padded
    return -(-length // 32) * 32
