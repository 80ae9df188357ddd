"""Windows of token ids: random ones to train on, consecutive ones to evaluate on.

A window of T tokens is T + 1 ids: the model gets all but the last, and predicts all but
the first. The batch of a step is a pure function of (seed, step), so training resumes
from the step alone, on any number of processes.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attnjax.parallel import process_rows
from experiments.errors import UserError

IGNORE_INDEX = -1  # in place of an id that the loss leaves out (PyTorch: ignore_index)


class TokenWindows:
    """Windows that begin at random positions of a text, as in nanoGPT.

    They are sampled with replacement, so some overlap.
    """

    def __init__(
        self, tokens: np.ndarray, *, rows: int, length: int, seed: int = 0
    ) -> None:
        """Keeps the text; its tokens are read only when their batch is made.

        Args:
          tokens: ids of the text, [N]; may be mapped from disk.
          rows: windows in a batch, B.
          length: tokens of a window, T.
          seed: seed of the positions.

        Raises:
          UserError: if the text is shorter than a window.
        """
        if len(tokens) <= length:
            raise UserError(
                f"expected a text of more than {length} tokens (the context), got "
                f"{len(tokens)} (give more text, or make the context shorter)"
            )
        self._tokens, self._seed = tokens, seed
        self.rows, self.length = rows, length

    def starts(self, step: int) -> np.ndarray:
        """Returns where the windows of a step begin, [B]."""
        # Raw bits, not Generator.integers: numpy guarantees that they never change. The
        # bias of the remainder is at most N / 2**64.
        bits = np.random.Philox(key=np.array([self._seed, step], np.uint64))
        draws = bits.random_raw(self.rows)
        return (draws % np.uint64(len(self._tokens) - self.length)).astype(np.int64)

    def batch(self, step: int) -> np.ndarray:
        """Makes the batch of a step, int32 [B, T + 1]."""
        return self.process_batch(step, 0, 1)

    def process_batch(
        self, step: int, process_index: int, process_count: int
    ) -> np.ndarray:
        """Makes one process's rows of a batch, and reads only their tokens.

        The rows of all processes, concatenated in order, are the global batch.

        Raises:
          ValueError: if the processes cannot have equally many rows.
        """
        mine = self.starts(step)[process_rows(self.rows, process_index, process_count)]
        positions = mine[:, None] + np.arange(self.length + 1)  # [B] -> [B, T + 1]
        return self._tokens[positions].astype(np.int32)

    def iterate(
        self, start: int = 0, *, process_index: int = 0, process_count: int = 1
    ) -> Iterator[np.ndarray]:
        """Makes this process's rows of all batches from step `start` on, endlessly."""
        for step in itertools.count(start):
            yield self.process_batch(step, process_index, process_count)


class ConsecutiveWindows(NamedTuple):
    """A batch of windows, and where each begins to predict."""

    ids: np.ndarray  # [B, T + 1], int32; `IGNORE_INDEX` where there is no token
    context_tokens: np.ndarray  # [B], int32, tokens at the start: not predicted


def consecutive_windows(
    tokens: np.ndarray, *, first: int, rows: int, length: int, context_tokens: int = 0
) -> Iterator[ConsecutiveWindows]:
    """Cuts a text into windows, so that every token is predicted once.

    Without context the windows do not overlap. With it, each begins that many tokens
    before the end of the last one, and the text's first predicts all of its tokens.

    Args:
      tokens: ids of the text, [N].
      first: the id before the text, from which its first token is predicted.
      rows: windows in a batch, B.
      length: tokens of a window, T.
      context_tokens: number of tokens at the start that are not predicted, below T.

    Yields:
      Batches; the last one is padded with `IGNORE_INDEX`.
    """
    N, new = len(tokens), length - context_tokens
    count = 1 + max(0, -(-(N - length) // new))
    for start in range(0, count, rows):
        window = np.arange(start, start + rows)
        # Where the ids are in the text, which `first` stands before.
        at = window[:, None] * new + np.arange(-1, length)  # [B] -> [B, T + 1]
        ids = tokens[np.clip(at, 0, N - 1)].astype(np.int32)
        ids = np.where(at < 0, first, np.where(at < N, ids, IGNORE_INDEX))
        context = np.where(window == 0, 0, context_tokens)
        # Nothing is left for the windows that fill up the last batch.
        context = np.where(window < count, context, length)
        yield ConsecutiveWindows(ids.astype(np.int32), context.astype(np.int32))
