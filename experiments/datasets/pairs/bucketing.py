"""Which shapes batches have, and which examples go into which.

A shape (B, S, T) holds B examples of at most S source and T target ids, EOS
counted. Few shapes mean few compilations; well chosen ones, little padding. All
here is arithmetic on lengths: no example is read.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from experiments.errors import UserError

NEVER = 1 << 40  # positions of a row that no shape has room for

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
        """Positions in a row, on both sides."""
        return self.source + self.target

    def fits(self, lengths: np.ndarray) -> np.ndarray:
        """Tells which of the lengths [N, 2] have room, as bool [N]."""
        return np.all(lengths <= np.array([self.source, self.target]), axis=-1)


def make_shape(source: int, target: int, *, tokens: int, row_multiple: int) -> Shape:
    """Gives a shape as many rows as keep both sides within a budget of positions.

    Raises:
      UserError: if not even `row_multiple` rows are within the budget.
    """
    longest = max(source, target)
    rows = tokens // longest // row_multiple * row_multiple
    if rows == 0:
        raise UserError(
            f"batch_tokens: expected at least {longest * row_multiple} ({row_multiple} "
            f"rows of {longest} positions), got {tokens} (raise it, or lower "
            "max_length)"
        )
    return Shape(rows, source, target)


def choose_shapes(
    lengths: np.ndarray, *, tokens: int, buckets: int = 8, row_multiple: int = 1
) -> tuple[Shape, ...]:
    """Chooses shapes in which the padding of these examples is small.

    Starts from the quantiles of both sides' lengths, then moves one length of one
    shape at a time, by one, for as long as that saves positions.

    Args:
      lengths: of source and target, EOS counted, [N, 2].
      tokens: most positions of a batch on either side, padding included.
      buckets: most shapes to choose.
      row_multiple: number that divides the rows of every batch.

    Returns:
      The shapes, cheapest row first.

    Raises:
      UserError: if the longest examples do not fit into the budget.
    """
    pairs, counts = np.unique(lengths, axis=0, return_counts=True)

    def cost(sides: Sides) -> int:
        # Row by row, without whole batches: left-over examples can move.
        fits = (pairs[:, None] <= sides).all(axis=-1)
        return int(
            (np.where(fits, sides.sum(axis=1), NEVER).min(axis=1) * counts).sum()
        )

    quantiles = np.arange(1, buckets + 1) / buckets
    start = np.quantile(lengths, quantiles, axis=0, method="higher")
    sides = _descend(np.unique(start, axis=0), cost)
    shapes = {
        make_shape(int(s), int(t), tokens=tokens, row_multiple=row_multiple)
        for s, t in sides
    }
    return tuple(sorted(shapes, key=_by_cost))


def _descend(sides: Sides, cost: Callable[[Sides], int]) -> Sides:
    """Moves the lengths [K, 2] of shapes by one wherever that lowers the cost."""
    moves = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1)])
    best, better = cost(sides), True
    while better:
        better = False
        for k, move in itertools.product(range(len(sides)), moves):
            moved = sides.copy()
            moved[k] += move
            now = cost(moved)
            if now < best and moved[k].min() > 0:
                best, sides, better = now, moved, True
    return sides


def assign(lengths: np.ndarray, shapes: Sequence[Shape]) -> np.ndarray:
    """Gives every example the shape in which it wastes least.

    Args:
      lengths: of source and target, EOS counted, [N, 2].
      shapes: the shapes there are.

    Returns:
      Index of the shape with the cheapest rows that the example fits, [N]; -1 where
      it fits none.
    """
    chosen = np.full(len(lengths), -1)
    for index in sorted(range(len(shapes)), key=lambda i: _by_cost(shapes[i])):
        free = chosen < 0
        chosen[free] = np.where(shapes[index].fits(lengths[free]), index, -1)
    return chosen


class Move(NamedTuple):
    """Examples that fill rows of another shape, sooner than start a batch there."""

    origin: int
    destination: int
    examples: int


def plan_moves(counts: Sequence[int], shapes: Sequence[Shape]) -> list[Move]:
    """Decides which left-over examples are moved into a roomier shape.

    A last batch that is nearly empty costs more than a few rows of longer padding.

    Args:
      counts: examples of each shape.
      shapes: the shapes, cheapest row first.

    Returns:
      The moves, in the order in which to make them.
    """
    counts, moves = list(counts), []
    for k, shape in enumerate(shapes):
        rest = counts[k] % shape.rows
        options = [(0, k)]
        for j in range(k + 1, len(shapes)):
            if (
                rest
                and shapes[j].source >= shape.source
                and (shapes[j].target >= shape.target)
            ):
                more = _positions(shapes[j], counts[j] + rest)
                less = _positions(shapes[j], counts[j]) + shape.rows * shape.cost
                options.append((more - less, j))
        saved, j = min(options)
        if saved < 0:
            moves.append(Move(k, j, rest))
            counts[k] -= rest
            counts[j] += rest
    return moves


def _positions(shape: Shape, count: int) -> int:
    """Positions of all batches that hold `count` examples."""
    return -(-count // shape.rows) * shape.rows * shape.cost


def _by_cost(shape: Shape) -> tuple[int, int, int]:
    return shape.cost, shape.source, shape.rows
