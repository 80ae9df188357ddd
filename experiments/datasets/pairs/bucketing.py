"""Bucketing: which shapes batches have, and which shape each example gets.

A shape (B, S, T) holds B examples of at most S source and T target tokens, EOS
included. XLA compiles a program per shape, so there should be few; padding is wasted
compute, so they should fit the data. All here is arithmetic on lengths: no example is
read.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from experiments.errors import UserError

NO_BUCKET = -1  # in place of a shape's index: the example fits no shape
NO_FIT_COST = 1 << 40  # positions; larger than any data set, so that a fit always wins

Sides: TypeAlias = np.ndarray  # source and target lengths of K shapes, [K, 2]


class Shape(NamedTuple):
    """The shape of a batch.

    Attributes:
      rows: examples in a batch (B).
      source: source positions (S).
      target: target positions (T).
    """

    rows: int
    source: int
    target: int

    @property
    def cost(self) -> int:
        """Positions in a row, both sides together."""
        return self.source + self.target

    def fits(self, lengths: np.ndarray) -> np.ndarray:
        """Tells which of the lengths [N, 2] fit, as bool [N]."""
        return np.all(lengths <= np.array([self.source, self.target]), axis=-1)


def make_shape(
    source: int, target: int, *, batch_tokens: int, row_multiple: int
) -> Shape:
    """Gives a shape as many rows as a token budget per side allows.

    Raises:
      UserError: if not even `row_multiple` rows are within the budget.
    """
    longest = max(source, target)
    rows = batch_tokens // longest // row_multiple * row_multiple
    if rows == 0:
        raise UserError(
            f"batch_tokens: expected at least {longest * row_multiple} ({row_multiple} "
            f"rows of {longest} positions), got {batch_tokens} (raise it, or lower "
            "max_length)"
        )
    return Shape(rows, source, target)


def choose_shapes(
    lengths: np.ndarray, *, batch_tokens: int, buckets: int = 8, row_multiple: int = 1
) -> tuple[Shape, ...]:
    """Chooses shapes that pad these examples little.

    Coordinate descent: start with the quantiles of both sides' lengths, then change
    the lengths of one shape at a time, by one, for as long as that saves positions.
    The result is a local optimum, and the same for the same lengths.

    Args:
      lengths: source and target lengths, EOS included, [N, 2].
      batch_tokens: largest number of positions per side of a batch, padding included.
      buckets: largest number of shapes to choose.
      row_multiple: number that must divide the rows of every batch.

    Returns:
      The shapes, the cheapest row first.

    Raises:
      UserError: if the longest examples do not fit into the budget.
    """
    # Descent evaluates the cost thousands of times. Sentences have few distinct
    # (source, target) lengths, so each distinct pair is costed once and counted.
    pairs, counts = np.unique(lengths, axis=0, return_counts=True)  # [P, 2], [P]

    def padded_positions(sides: Sides) -> int:
        # Per row, as if no batch had empty rows: `plan_leftovers` takes care of those.
        fits = (pairs[:, None] <= sides).all(axis=-1)  # [P, 1, 2], [K, 2] -> [P, K]
        costs = np.where(fits, sides.sum(axis=1), NO_FIT_COST)  # [P, K]
        return int((costs.min(axis=1) * counts).sum())

    # The largest quantile is the maximum of both sides, so every example fits a shape.
    # method="higher" takes lengths that occur; interpolated ones would be fractions.
    quantiles = np.arange(1, buckets + 1) / buckets
    start = np.quantile(lengths, quantiles, axis=0, method="higher")
    sides = _descend(np.unique(start, axis=0), padded_positions)
    shapes = {
        make_shape(int(s), int(t), batch_tokens=batch_tokens, row_multiple=row_multiple)
        for s, t in sides
    }
    return tuple(sorted(shapes, key=_by_cost))


def _descend(sides: Sides, cost: Callable[[Sides], int]) -> Sides:
    """Changes the lengths [K, 2] of single shapes by one while that lowers the cost."""
    # Diagonal steps change both sides, since source and target lengths correlate.
    steps = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1)])
    best, improved = cost(sides), True
    while improved:
        improved = False
        for k, step in itertools.product(range(len(sides)), steps):
            changed = sides.copy()
            changed[k] += step
            now = cost(changed)
            if now < best and changed[k].min() > 0:
                best, sides, improved = now, changed, True
    return sides


def assign_buckets(lengths: np.ndarray, shapes: Sequence[Shape]) -> np.ndarray:
    """Assigns every example to the shape that pads it least.

    Args:
      lengths: source and target lengths, EOS included, [N, 2].
      shapes: the shapes there are.

    Returns:
      Index of the shape with the cheapest rows that the example fits, [N];
      NO_BUCKET (-1) where it fits none.
    """
    chosen = np.full(len(lengths), NO_BUCKET)
    # The cheapest shape first: the first one that fits is the cheapest that fits.
    for index in sorted(range(len(shapes)), key=lambda i: _by_cost(shapes[i])):
        free = chosen == NO_BUCKET
        chosen[free] = np.where(shapes[index].fits(lengths[free]), index, NO_BUCKET)
    return chosen


class Move(NamedTuple):
    """Left-over examples of one shape that are batched in a larger shape instead.

    Attributes:
      origin: index of the shape whose last batch they would have been.
      destination: index of the larger shape.
      examples: number of examples to move.
    """

    origin: int
    destination: int
    examples: int


def plan_leftovers(counts: Sequence[int], shapes: Sequence[Shape]) -> list[Move]:
    """Decides which left-over examples move into the batches of a larger shape.

    The last batch of a shape may be nearly empty, and costs as much as a full one. A
    few rows with more padding in another shape's batch are often cheaper.

    Args:
      counts: number of examples of each shape.
      shapes: the shapes, the cheapest row first.

    Returns:
      The moves, in the order in which to make them: examples may move on.
    """
    counts, moves = list(counts), []
    for k, shape in enumerate(shapes):
        leftover = counts[k] % shape.rows
        options = [(0, k)]  # (positions more than now, where to)
        for j in range(k + 1, len(shapes)):
            if (
                leftover
                and shapes[j].source >= shape.source
                and (shapes[j].target >= shape.target)
            ):
                # Into free rows of the other shape's last batch this costs nothing, and
                # a whole batch of this shape is saved.
                after = _positions(shapes[j], counts[j] + leftover)
                before = _positions(shapes[j], counts[j]) + shape.rows * shape.cost
                options.append((after - before, j))
        change, j = min(options)
        if change < 0:
            moves.append(Move(k, j, leftover))
            counts[k] -= leftover
            counts[j] += leftover
    return moves


def _positions(shape: Shape, count: int) -> int:
    """Positions of all batches that hold `count` examples, empty rows included."""
    num_batches = -(-count // shape.rows)  # rounded up
    return num_batches * shape.rows * shape.cost


def _by_cost(shape: Shape) -> tuple[int, int, int]:
    return shape.cost, shape.source, shape.rows
