"""A text as a stream: columns that are read side by side, segment by segment.

A model that carries a state reads on where it stopped. The batch of a step is a pure
function of the step, so training resumes from the step and the state, on any number of
processes; all batches have one shape.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attnjax.parallel import process_rows
from experiments.datasets.text.windows import IGNORE_INDEX
from experiments.errors import UserError


class Segments(NamedTuple):
    """One segment of every column."""

    ids: np.ndarray  # [B, T + 1], int32; `IGNORE_INDEX` where there is no token
    resets: np.ndarray  # [B], True where the state before the segment is the first one


class TokenStream:
    """The columns of a text: B equal parts, the last of which may be shorter.

    The token before a column predicts its first token, so every token is predicted
    once each time the text is read; the last segment of a column may be shorter than
    the others, and is padded.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        *,
        first: int,
        columns: int,
        length: int,
        reset_every: int | None = None,
        rows: int | None = None,
    ) -> None:
        """Keeps the text; its tokens are read only when their batch is made.

        Args:
          tokens: ids of the text, [N]; may be mapped from disk.
          first: the id before the text, from which its first token is predicted.
          columns: number of parts.
          length: tokens of a segment, T.
          reset_every: number of segments after which the state is reset, besides the
            beginning of the text; None: it never is.
          rows: rows of a batch, B, of which those after the columns are empty; by
            default the columns.

        Raises:
          UserError: if there are fewer tokens than columns.
        """
        if len(tokens) < columns:
            raise UserError(
                f"expected a text of at least {columns} tokens, one a column, got "
                f"{len(tokens)} (give more text, or fewer columns)"
            )
        self._tokens, self._first = tokens, first
        self.columns, self.length = columns, length
        self.rows = columns if rows is None else rows
        self._reset_every = reset_every
        self.column_length = -(-len(tokens) // columns)
        self.segments = -(-self.column_length // length)

    def segment(self, number: int, rows: slice | None = None) -> Segments:
        """Makes a segment of some rows, or of all; the text is repeated without end.

        Args:
          number: of the segment, from 0; those after `segments` are the next epoch's.
          rows: which rows; only their tokens are read.
        """
        row = np.arange(self.rows)[rows or slice(None)]
        within = number % self.segments
        # Where the ids are in the column, which the token before it precedes.
        place = within * self.length + np.arange(-1, self.length)  # [T + 1]
        at = row[:, None] * self.column_length + place  # [B] -> [B, T + 1]
        N = len(self._tokens)
        there = (place < self.column_length) & (at < N) & (row[:, None] < self.columns)
        ids = self._tokens[np.clip(at, 0, N - 1)].astype(np.int32)
        ids = np.where(at < 0, self._first, np.where(there, ids, IGNORE_INDEX))
        fresh = within == 0 or (
            self._reset_every is not None and within % self._reset_every == 0
        )
        return Segments(ids.astype(np.int32), np.full(len(row), fresh))

    def iterate(
        self, start: int = 0, *, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Segments]:
        """Makes this process's rows of all segments from `start` on, endlessly."""
        rows = process_rows(self.rows, process_index, process_count)
        for number in itertools.count(start):
            yield self.segment(number, rows)
