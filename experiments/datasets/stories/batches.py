"""Batches of rows: every epoch in another order, a pure function of (seed, step)."""

import functools

import numpy as np

from experiments.errors import UserError


class EpochBatches:
    """Numbers of rows, in random order; those left over at an epoch's end are skipped.

    Which ones are left over differs from epoch to epoch.
    """

    def __init__(self, count: int, *, rows: int, seed: int = 0) -> None:
        """Draws nothing yet.

        Args:
          count: number of rows there are.
          rows: number of rows in a batch, B.
          seed: seed of the order.

        Raises:
          UserError: if there are fewer rows than a batch has.
        """
        if count < rows:
            raise UserError(
                f"batch_size: expected at most the {count} training questions, got "
                f"{rows}"
            )
        self.steps_per_epoch = count // rows
        self._count, self._rows, self._seed = count, rows, seed
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)

    def rows(self, step: int) -> np.ndarray:
        """The rows of a step, [B]."""
        epoch, at = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[at * self._rows : (at + 1) * self._rows]

    def _draw_order(self, epoch: int) -> np.ndarray:
        # Raw bits, not Generator.permutation: numpy guarantees that they never change.
        bits = np.random.Philox(key=np.array([self._seed, epoch], np.uint64))
        return np.argsort(bits.random_raw(self._count), kind="stable")
