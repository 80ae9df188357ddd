"""Batches by tokens, in a small fixed set of shapes.

The batch of a step is a pure function of (seed, step): whoever knows the step can
go on from there, on any number of processes.
"""

import functools
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import grain
import numpy as np

from experiments.datasets.pairs import bucketing
from experiments.datasets.pairs.bucketing import Shape
from experiments.datasets.tokenizers.sentences import EOS, PAD
from experiments.errors import UserError

Ids: TypeAlias = Sequence[int] | np.ndarray

FILLER = -1  # in place of an example's index: a row of only PAD


class Batch(NamedTuple):
    """Ids of a batch; the mask of either side is `ids != PAD`.

    A row of only PAD fills a batch up: it has no loss.

    Attributes:
      source: source ids with EOS, then PAD, int32 [B, S].
      target: target ids with EOS, then PAD, int32 [B, T].
    """

    source: np.ndarray
    target: np.ndarray


class _Epoch(NamedTuple):
    """All batches of an epoch: batch b has the shape shapes[b] and the rows
    rows[starts[b] : starts[b] + shape.rows]."""

    shapes: np.ndarray
    starts: np.ndarray
    rows: np.ndarray


class TokenBatches:
    """Shuffled batches for training, each of at most so many positions a side.

    Every example is in exactly one batch of an epoch. The last batch of a shape is
    filled up with rows of only PAD, of which there are as few as moving left-over
    examples into roomier shapes leaves.

    Attributes:
      shapes: all shapes that a batch can have.
      batches_per_epoch: number of batches in every epoch.
      dropped: number of examples left out because they were too long.
      efficiency: share of ids, rather than PAD, in the positions of an epoch.
      target_tokens: target ids in an epoch, EOS counted.
    """

    def __init__(
        self,
        examples: Sequence[tuple[Ids, Ids]],
        *,
        tokens: int,
        seed: int = 0,
        buckets: int = 8,
        shapes: Sequence[Shape] | None = None,
        row_multiple: int = 1,
        max_length: int | None = None,
    ) -> None:
        """Plans the batches; examples are read only when their batch is made.

        Args:
          examples: ids of source and target, without EOS; random access. If it has
            an attribute `lengths` [N, 2], examples are not read for their lengths.
          tokens: most positions of a batch on either side, padding included.
          seed: of the order; two seeds give two orders.
          buckets: most shapes to choose.
          shapes: the shapes, to choose none; examples that fit none are dropped.
          row_multiple: number that divides the rows of every batch (devices).
          max_length: longest side of an example in ids, EOS not counted; longer
            ones are dropped. None drops none.

        Raises:
          UserError: if no example is left, or one does not fit into the budget.
        """
        self._examples, self._seed = examples, seed
        lengths = lengths_of(examples) + 1  # EOS
        kept = np.full(len(lengths), True)
        if max_length is not None:
            kept = np.all(lengths <= max_length + 1, axis=1)
        if shapes is None and kept.any():
            shapes = bucketing.choose_shapes(
                lengths[kept], tokens=tokens, buckets=buckets, row_multiple=row_multiple
            )
        self.shapes = tuple(sorted(shapes or (), key=lambda shape: shape.cost))
        self._shape_of = np.where(kept, bucketing.assign(lengths, self.shapes), -1)
        self._kept = np.flatnonzero(self._shape_of >= 0)
        self.dropped = len(lengths) - len(self._kept)
        if not len(self._kept):
            raise UserError(
                f"expected examples that are short enough to train on, got none among "
                f"{len(lengths)} (max_length is {max_length})"
            )
        counts = np.bincount(self._shape_of[self._kept], minlength=len(self.shapes))
        self._moves = bucketing.plan_moves(counts.tolist(), self.shapes)
        self._lock = threading.Lock()
        self._epoch = functools.lru_cache(maxsize=2)(self._plan_epoch)
        epoch = self._epoch(0)
        self.batches_per_epoch = len(epoch.shapes)
        self.target_tokens = int(lengths[self._kept, 1].sum())
        positions = sum(self.shapes[k].rows * self.shapes[k].cost for k in epoch.shapes)
        self.efficiency = float(lengths[self._kept].sum() / positions)

    def indices(self, step: int) -> tuple[Shape, np.ndarray]:
        """Gives the shape of a step's batch and its examples' indices.

        Args:
          step: which batch, from 0 on, through all epochs.

        Returns:
          The shape (B, S, T), and the indices [B] with -1 for rows of only PAD.
        """
        number, position = divmod(step, self.batches_per_epoch)
        with self._lock:  # so that an epoch is planned once, by one thread
            epoch = self._epoch(number)
        shape = self.shapes[epoch.shapes[position]]
        start = epoch.starts[position]
        return shape, epoch.rows[start : start + shape.rows]

    def batch(self, step: int) -> Batch:
        """Makes the batch of a step, a pure function of (seed, step)."""
        return self.local(step, 0, 1)

    def local(self, step: int, process_index: int, process_count: int) -> Batch:
        """Makes one process's rows of a batch; no other examples are read.

        The rows of all processes, one after the other, are the batch.

        Raises:
          ValueError: if the rows cannot be shared out equally.
        """
        shape, indices = self.indices(step)
        if shape.rows % process_count:
            raise ValueError(
                f"process_count: expected a divisor of {shape.rows} rows, got "
                f"{process_count} (make row_multiple a multiple of it)"
            )
        rows = shape.rows // process_count
        mine = indices[process_index * rows : (process_index + 1) * rows]
        return fill(self._examples, mine, shape)

    def iterate(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 2,
    ) -> Iterator[Batch]:
        """Makes the batches of the steps from `start` on, ahead of their use.

        The iterator's whole state is the step: to go on where another one stopped,
        start at the step that it would have given next.

        Args:
          start: the first step.
          stop: the step before which to stop; None never stops.
          process_index: this process.
          process_count: number of processes.
          threads: number of threads that make batches.

        Yields:
          This process's rows of each batch.
        """
        steps = grain.MapDataset.range(start, 2**62 if stop is None else stop)
        batches = steps.map(
            lambda step: self.local(int(step), process_index, process_count)
        )
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=2 * threads
        )
        return iter(batches.to_iter_dataset(options))

    def _plan_epoch(self, number: int) -> _Epoch:
        """Shuffles the examples within shapes, then the batches."""
        # Raw bits, not Generator.permutation: numpy promises that they never change.
        bits = np.random.Philox(key=np.array([self._seed, number], np.uint64))
        order = self._kept[np.argsort(bits.random_raw(len(self._kept)), kind="stable")]
        shape_of = self._shape_of[order]
        queues = [order[shape_of == k] for k in range(len(self.shapes))]
        for origin, destination, count in self._moves:
            moved = queues[origin][-count:]
            queues[origin] = queues[origin][:-count]
            queues[destination] = np.concatenate([queues[destination], moved])
        full = [
            np.pad(queue, (0, -len(queue) % shape.rows), constant_values=FILLER)
            for queue, shape in zip(queues, self.shapes, strict=True)
        ]
        sizes = [
            len(queue) // s.rows for queue, s in zip(full, self.shapes, strict=True)
        ]
        shapes = np.repeat(np.arange(len(self.shapes)), sizes)
        rows = np.array([shape.rows for shape in self.shapes])[shapes]
        starts = np.cumsum(rows) - rows
        mixed = np.argsort(bits.random_raw(len(shapes)), kind="stable")
        return _Epoch(shapes[mixed], starts[mixed], np.concatenate(full))


def lengths_of(examples: Sequence[tuple[Ids, Ids]]) -> np.ndarray:
    """Gives the lengths [N, 2] of examples: their attribute, or else by reading."""
    lengths = getattr(examples, "lengths", None)
    if lengths is None:
        lengths = [
            (len(examples[i][0]), len(examples[i][1])) for i in range(len(examples))
        ]
    return np.asarray(lengths, np.int64).reshape(-1, 2)


def fill(
    examples: Sequence[tuple[Ids, Ids]],
    indices: np.ndarray,
    shape: Shape,
) -> Batch:
    """Reads the examples of these indices into a batch of a shape's lengths."""
    source = np.full((len(indices), shape.source), PAD, np.int32)
    target = np.full((len(indices), shape.target), PAD, np.int32)
    for row, index in enumerate(indices.tolist()):
        if index != FILLER:
            example = examples[index]
            write_row(source[row], example[0])
            write_row(target[row], example[1])
    return Batch(source, target)


def write_row(row: np.ndarray, ids: Ids) -> None:
    """Writes ids and EOS into a row of PAD."""
    row[: len(ids)] = ids
    row[len(ids)] = EOS
