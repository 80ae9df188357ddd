"""Shuffled training batches under a token budget, in a small fixed set of shapes.

The batch of a step is a pure function of (seed, step), so the step is the iterator's
whole state: training resumes from it exactly, on any number of processes.
"""

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from experiments.datasets.pairs import bucketing
from experiments.datasets.pairs.batching import (
    PADDING_ROW,
    Ids,
    example_lengths,
    pad_batch,
)
from experiments.datasets.pairs.bucketing import Shape
from experiments.errors import UserError


class _EpochPlan(NamedTuple):
    """All batches of an epoch, as three flat arrays.

    Batch b has the shape `shapes[b]` and the examples
    `rows[starts[b] : starts[b] + shape.rows]`.
    """

    shapes: np.ndarray
    starts: np.ndarray
    rows: np.ndarray


class TokenBatches:
    """Shuffled batches for training, each within a token budget per side.

    Every example is in exactly one batch of an epoch. The last batch of each shape is
    completed with rows of only PAD. To need few of them, left-over examples move into
    the batches of a larger shape where that is cheaper.

    Attributes:
      shapes: all shapes that a batch can have.
      batches_per_epoch: number of batches in every epoch.
      dropped: number of examples dropped because they were too long.
      efficiency: share of the positions of an epoch that hold tokens, not PAD.
      target_tokens: number of target tokens in an epoch, EOS included.
    """

    def __init__(
        self,
        examples: Sequence[tuple[Ids, Ids]],
        *,
        batch_tokens: int,
        seed: int = 0,
        buckets: int = 8,
        shapes: Sequence[Shape] | None = None,
        row_multiple: int = 1,
        max_length: int | None = None,
        pad: Callable[[Sequence[tuple[Ids, Ids]], np.ndarray, Shape], Any] = pad_batch,
    ) -> None:
        """Plans the batches; an example is read only when its batch is made.

        Args:
          examples: source and target ids, without EOS; random access. If there is an
            attribute `lengths` [N, 2], planning reads that and no example.
          batch_tokens: largest number of positions per side of a batch, padding
            included.
          seed: seed of the shuffling.
          buckets: largest number of shapes to choose.
          shapes: shapes to use instead of choosing some; examples that fit none are
            dropped.
          row_multiple: number that must divide the rows of every batch (devices).
          max_length: longest side of an example, EOS not counted; longer examples are
            dropped. None drops none.
          pad: makes a batch of examples, indices and shape.

        Raises:
          UserError: if no example is left, or one does not fit into the budget.
        """
        self._examples, self._seed, self._pad = examples, seed, pad
        lengths = example_lengths(examples) + 1  # EOS
        kept = np.full(len(lengths), True)
        if max_length is not None:
            kept = np.all(lengths <= max_length + 1, axis=1)
        if shapes is None and kept.any():
            shapes = bucketing.choose_shapes(
                lengths[kept],
                batch_tokens=batch_tokens,
                buckets=buckets,
                row_multiple=row_multiple,
            )
        self.shapes = tuple(sorted(shapes or (), key=lambda shape: shape.cost))
        bucket_of = bucketing.assign_buckets(lengths, self.shapes)
        self._bucket_of = np.where(kept, bucket_of, bucketing.NO_BUCKET)
        self._kept = np.flatnonzero(self._bucket_of != bucketing.NO_BUCKET)
        self.dropped = len(lengths) - len(self._kept)
        if not len(self._kept):
            raise UserError(
                "data: expected examples that are short enough to train on, got none "
                f"among {len(lengths)} (max_length is {max_length})"
            )
        counts = np.bincount(self._bucket_of[self._kept], minlength=len(self.shapes))
        self._moves = bucketing.plan_leftovers(counts.tolist(), self.shapes)
        self._lock = threading.Lock()
        # Two epochs: prefetching threads may already be in the next one.
        self._epoch = functools.lru_cache(maxsize=2)(self._plan_epoch)
        epoch = self._epoch(0)
        self.batches_per_epoch = len(epoch.shapes)
        self.target_tokens = int(lengths[self._kept, 1].sum())
        positions = sum(self.shapes[k].rows * self.shapes[k].cost for k in epoch.shapes)
        self.efficiency = float(lengths[self._kept].sum() / positions)

    def indices(self, step: int) -> tuple[Shape, np.ndarray]:
        """Returns the shape of a step's batch and the indices of its examples.

        Args:
          step: number of the batch, from 0, counted through all epochs.

        Returns:
          The shape (B, S, T), and the indices [B] with -1 for rows of only PAD.
        """
        number, position = divmod(step, self.batches_per_epoch)
        # lru_cache does not keep two threads from computing the same entry.
        with self._lock:
            epoch = self._epoch(number)
        shape = self.shapes[epoch.shapes[position]]
        start = epoch.starts[position]
        return shape, epoch.rows[start : start + shape.rows]

    def batch(self, step: int) -> Any:
        """Makes the batch of a step, a pure function of (seed, step)."""
        return self.process_batch(step, 0, 1)

    def process_batch(self, step: int, process_index: int, process_count: int) -> Any:
        """Makes one process's rows of a batch, and reads only their examples.

        The rows of all processes, concatenated in order, are the global batch.

        Raises:
          ValueError: if the processes cannot have equally many rows.
        """
        shape, indices = self.indices(step)
        if shape.rows % process_count:
            raise ValueError(
                f"process_count: expected a divisor of {shape.rows} rows, got "
                f"{process_count} (make row_multiple a multiple of it)"
            )
        rows = shape.rows // process_count
        mine = indices[process_index * rows : (process_index + 1) * rows]
        return self._pad(self._examples, mine, shape)

    def iterate(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 2,
    ) -> Iterator[Any]:
        """Makes the batches of consecutive steps, prefetched by background threads.

        The step is the iterator's whole state: to resume, start at the next step.

        Args:
          start: the first step.
          stop: the step before which to stop; None never stops.
          process_index: index of this process.
          process_count: number of processes.
          threads: number of threads that make batches.

        Yields:
          This process's rows of each batch.
        """
        # grain wants a length; 2**62 steps never end.
        steps = grain.MapDataset.range(start, 2**62 if stop is None else stop)
        batches = steps.map(
            lambda step: self.process_batch(int(step), process_index, process_count)
        )
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=2 * threads
        )
        return iter(batches.to_iter_dataset(options))

    def _plan_epoch(self, number: int) -> _EpochPlan:
        """Shuffles the examples within each bucket, then the order of the batches."""
        # Sorting raw bits, not Generator.permutation: numpy guarantees the bit stream
        # of Philox for ever, but not how Generator turns it into a permutation.
        bits = np.random.Philox(key=np.array([self._seed, number], np.uint64))
        order = self._kept[np.argsort(bits.random_raw(len(self._kept)), kind="stable")]
        bucket_of = self._bucket_of[order]
        queues = [order[bucket_of == k] for k in range(len(self.shapes))]
        for move in self._moves:
            # Of a shuffled queue, so every epoch moves other examples.
            moved = queues[move.origin][-move.examples :]
            queues[move.origin] = queues[move.origin][: -move.examples]
            queues[move.destination] = np.concatenate([queues[move.destination], moved])
        full = [
            np.pad(queue, (0, -len(queue) % shape.rows), constant_values=PADDING_ROW)
            for queue, shape in zip(queues, self.shapes, strict=True)
        ]
        num_batches = [
            len(queue) // s.rows for queue, s in zip(full, self.shapes, strict=True)
        ]
        # The batches of bucket 0, then those of bucket 1, ...: starts index into the
        # concatenation of all queues. Shuffling both together keeps them in step.
        shapes = np.repeat(np.arange(len(self.shapes)), num_batches)
        rows = np.array([shape.rows for shape in self.shapes])[shapes]
        starts = np.cumsum(rows) - rows
        shuffled = np.argsort(bits.random_raw(len(shapes)), kind="stable")
        return _EpochPlan(shapes[shuffled], starts[shuffled], np.concatenate(full))
