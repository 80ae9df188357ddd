"""Batches of running text: crops at random to learn from, all of it to measure by.

A crop of T tokens is T + 1 ids: each but the last is read, each but the first is to
be predicted. The batch of a step is a pure function of (seed, step): whoever knows
the step can go on from there, on any number of processes.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from attnjax.parallel import process_rows
from experiments.errors import UserError

NOTHING = -1  # in place of an id that is not to be predicted


class Crops:
    """Crops that begin anywhere in a text, as in nanoGPT: some overlap, by chance."""

    def __init__(
        self, tokens: np.ndarray, *, rows: int, length: int, seed: int = 0
    ) -> None:
        """Plans the batches; tokens are read only when their batch is made.

        Args:
          tokens: ids of the text, shape [N].
          rows: crops in a batch, B.
          length: tokens of a crop, T.
          seed: of where they begin; two seeds give two orders.

        Raises:
          UserError: if the text is shorter than a crop.
        """
        if len(tokens) <= length:
            raise UserError(
                f"expected a text of more than {length} tokens (the context), got "
                f"{len(tokens)} (give more text, or make the context shorter)"
            )
        self._tokens, self._seed = tokens, seed
        self.rows, self.length = rows, length

    def starts(self, step: int) -> np.ndarray:
        """Where the crops of a step begin, shape [B]."""
        # Raw bits, not Generator.integers: numpy promises that they never change.
        bits = np.random.Philox(key=np.array([self._seed, step], np.uint64))
        draws = bits.random_raw(self.rows)
        return (draws % np.uint64(len(self._tokens) - self.length)).astype(np.int64)

    def batch(self, step: int) -> np.ndarray:
        """Makes the batch of a step, int32 [B, T + 1]."""
        return self.local(step, 0, 1)

    def local(self, step: int, process_index: int, process_count: int) -> np.ndarray:
        """Makes one process's rows of a batch; no other tokens are read.

        The rows of all processes, one after the other, are the batch.

        Raises:
          ValueError: if the rows cannot be shared out equally.
        """
        mine = self.starts(step)[process_rows(self.rows, process_index, process_count)]
        places = mine[:, None] + np.arange(self.length + 1)
        return self._tokens[places].astype(np.int32)

    def iterate(
        self, start: int = 0, *, process_index: int = 0, process_count: int = 1
    ) -> Iterator[np.ndarray]:
        """Makes this process's rows of the batches from step `start` on, for ever."""
        for step in itertools.count(start):
            yield self.local(step, process_index, process_count)


def consecutive_crops(
    tokens: np.ndarray, *, first: int, rows: int, length: int
) -> Iterator[np.ndarray]:
    """Cuts a text into crops one after the other: every token is predicted once.

    Args:
      tokens: ids of the text, shape [N].
      first: the id before the text, which the first token is predicted from.
      rows: crops in a batch, B.
      length: tokens of a crop, T.

    Yields:
      Batches, int32 [B, T + 1]; what fills the last one up is `NOTHING`.
    """
    size = rows * length
    for start in range(0, len(tokens), size):
        some = tokens[start : start + size]
        padding = (0, size - len(some))
        targets = np.pad(some.astype(np.int32), padding, constant_values=NOTHING)
        targets = targets.reshape(rows, length)
        before = np.roll(targets[:, -1:], 1, axis=0)
        before[0] = first if start == 0 else tokens[start - 1]
        yield np.concatenate([before, targets], axis=1)
