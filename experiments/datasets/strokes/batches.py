"""Batches of whole lines: a few fixed shapes, a pure function of (seed, step)."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.errors import UserError

_MULTIPLE = 8  # lengths are rounded up, so that similar data have the same shapes


class StrokeLine(NamedTuple):
    """A line as a network takes it."""

    points: np.ndarray  # float32 [N, 3], normalised
    text: np.ndarray  # int32 [U], characters by number; [0] without a text


class StrokeBatch(NamedTuple):
    """Lines side by side, padded at their ends."""

    points: np.ndarray  # [B, T, 3]
    mask: np.ndarray  # [B, T], True = a point
    text: np.ndarray  # [B, S], with one position of padding at least
    text_mask: np.ndarray  # [B, S], True = a character


def pad_lines(lines: Sequence[StrokeLine], T: int, S: int) -> StrokeBatch:
    """Pads lines to T points and S characters."""
    B = len(lines)
    batch = StrokeBatch(
        np.zeros((B, T, 3), np.float32),
        np.zeros((B, T), bool),
        np.zeros((B, S), np.int32),
        np.zeros((B, S), bool),
    )
    for row, line in enumerate(lines):
        N, U = len(line.points), len(line.text)
        batch.points[row, :N], batch.mask[row, :N] = line.points, True
        batch.text[row, :U], batch.text_mask[row, :U] = line.text, True
    return batch


class Shape(NamedTuple):
    """What lines of a bucket are padded to."""

    T: int  # points
    S: int  # characters, and the position after them


class Buckets:
    """Lines by length, in as many buckets of about equal size as are wanted."""

    def __init__(self, lines: Sequence[StrokeLine], *, count: int) -> None:
        self.lines = lines
        lengths = np.array([len(line.points) for line in lines])
        order = np.argsort(lengths, kind="stable")
        bounds = {int(lengths[part[-1]]) for part in np.array_split(order, count)
                  if len(part)}  # fmt: skip
        widest = max(len(line.text) for line in lines) + 1
        self.shapes = [Shape(_round_up(T), widest) for T in sorted(bounds)]
        edges = [shape.T for shape in self.shapes]
        self.bucket = np.searchsorted(edges, lengths)  # [N], by line

    def batch(self, bucket: int, rows: Sequence[int]) -> StrokeBatch:
        """Pads lines of a bucket to its shape."""
        return pad_lines([self.lines[row] for row in rows], *self.shapes[bucket])


class StrokeBatches:
    """Random batches without end; every epoch takes the lines in another order.

    What does not fill a batch at an epoch's end is skipped, other lines each time.
    """

    def __init__(
        self, lines: Sequence[StrokeLine], *, batch_size: int, buckets: int, seed: int
    ) -> None:
        """Plans the shapes; draws nothing yet.

        Args:
          lines: the training lines.
          batch_size: lines of a batch, B.
          buckets: number of shapes at most.
          seed: seed of the order.

        Raises:
          UserError: if there are fewer lines than a batch has.
        """
        if len(lines) < batch_size:
            raise UserError(
                f"batch_size: expected at most the {len(lines)} training lines, got "
                f"{batch_size}"
            )
        most = max(1, min(buckets, len(lines) // batch_size))
        self.buckets = Buckets(lines, count=most)
        counts = np.bincount(self.buckets.bucket)
        self.steps_per_epoch = int((counts // batch_size).sum())
        self._rows, self._seed = batch_size, seed
        self._plan = functools.lru_cache(maxsize=2)(self._draw)

    def batch(self, step: int) -> StrokeBatch:
        """The batch of a step."""
        epoch, at = divmod(step, self.steps_per_epoch)
        bucket, rows = self._plan(epoch)[at]
        return self.buckets.batch(bucket, rows)

    def _draw(self, epoch: int) -> list[tuple[int, list[int]]]:
        # Raw bits, not Generator.permutation: numpy guarantees that they never change.
        bits = np.random.Philox(key=np.array([self._seed, epoch], np.uint64))
        order = np.argsort(bits.random_raw(len(self.buckets.lines)), kind="stable")
        plan = []
        for bucket in range(len(self.buckets.shapes)):
            rows = order[self.buckets.bucket[order] == bucket]
            ends = range(self._rows, len(rows) + 1, self._rows)
            plan += [(bucket, rows[end - self._rows : end].tolist()) for end in ends]
        shuffled = np.argsort(bits.random_raw(len(plan)), kind="stable")
        return [plan[n] for n in shuffled]


def _round_up(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE
