"""Associative recall: an item is asked for by the one before it."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from experiments.algorithms.sequences.base import (
    Generator,
    Sequences,
    check_range,
    grow,
    random_bits,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AssociativeRecall(Generator):
    """Items of several vectors; then one of them is shown, and the next is expected.

    A delimiter comes before every item, another one before and after the query, which
    is never the last item.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), section 4.3.
    """

    bits: int = 6
    """Number of bits of a vector."""
    item_length: int = 3
    """Number of vectors of an item."""
    min_items: int = 2
    """Smallest number of items."""
    max_items: int = 6
    """Largest number of items."""

    def __post_init__(self) -> None:
        check_range("items", self.min_items, self.max_items, least=2)

    @property
    def input_dim(self) -> int:
        """The bits, the delimiter of items, and that of the query."""
        return self.bits + 2

    @property
    def output_dim(self) -> int:
        """The bits."""
        return self.bits

    def generate(self, rng: np.random.Generator, batch_size: int) -> Sequences:
        """Generates a batch of (1 + item_length) * (max_items + 2) steps."""
        B, N, L, bits = batch_size, self.max_items, self.item_length, self.bits
        count = rng.integers(self.min_items, N, B, endpoint=True)
        asked = rng.integers(0, count - 1)  # [B]
        # An item and the delimiter before it: [B, N, 1+L, bits+2].
        items = np.zeros((B, N, 1 + L, self.input_dim), np.float32)
        items[..., 0, bits] = 1
        items[..., 1:, :bits] = random_bits(rng, B, N, L, bits)
        items *= (np.arange(N) < count[:, None])[..., None, None]
        T = (1 + L) * (N + 2)
        inputs = np.zeros((B, T, self.input_dim), np.float32)
        targets = np.zeros((B, T, bits), np.float32)
        mask = np.zeros((B, T), bool)
        # [B, N, 1+L, I] -> [B, N*(1+L), I]
        inputs[:, : N * (1 + L)] = items.reshape(B, N * (1 + L), -1)
        every, query = np.arange(B), count * (1 + L)
        inputs[every, query, bits + 1] = 1
        inputs[every, query + 1 + L, bits + 1] = 1
        for n in range(L):
            inputs[every, query + 1 + n] = items[every, asked, 1 + n]
            answer = query + 2 + L + n
            targets[every, answer] = items[every, asked + 1, 1 + n, :bits]
            mask[every, answer] = True
        return Sequences(inputs, targets, mask)

    def eased(self, share: float) -> "AssociativeRecall":
        """See `Generator`: fewer items."""
        most = grow(self.min_items, self.max_items, share)
        return dataclasses.replace(self, max_items=most)

    def generalizations(self) -> Mapping[str, "AssociativeRecall"]:
        """As many items as the longest has, and more: those of figure 12."""
        longest = self.max_items
        return {
            f"{n} items": dataclasses.replace(self, min_items=n, max_items=n)
            for n in (longest, *(n for n in (6, 8, 10, 12, 15, 20) if n > longest))
        }

    def rows_needed(self) -> int:
        """One for each item: its vectors may share a row."""
        return self.max_items
