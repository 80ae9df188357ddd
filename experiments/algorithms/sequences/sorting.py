"""Priority sort: vectors with priorities, said again in their order."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from experiments.algorithms.sequences.base import (
    Generator,
    Sequences,
    grow,
    random_bits,
)
from experiments.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrioritySort(Generator):
    """Vectors with priorities and a delimiter; then the first ones by priority.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), section 4.5.
    """

    bits: int = 8
    """Number of bits of a vector."""
    given: int = 20
    """Number of vectors."""
    expected: int = 16
    """Number of vectors of the answer: those of highest priority, the highest first."""

    def __post_init__(self) -> None:
        if not 1 <= self.expected <= self.given:
            raise UserError(
                f"expected: expected 1 to {self.given} vectors, got {self.expected} "
                "(those of the answer are among the given ones)"
            )

    @property
    def input_dim(self) -> int:
        """The bits, the priority, and the delimiter."""
        return self.bits + 2

    @property
    def output_dim(self) -> int:
        """The bits."""
        return self.bits

    def generate(self, rng: np.random.Generator, batch_size: int) -> Sequences:
        """Generates a batch of given + 1 + expected steps."""
        B, N, K = batch_size, self.given, self.expected
        vectors = random_bits(rng, B, N, self.bits)
        priorities = rng.uniform(-1, 1, (B, N)).astype(np.float32)
        T = N + 1 + K
        inputs = np.zeros((B, T, self.input_dim), np.float32)
        inputs[:, :N, : self.bits] = vectors
        inputs[:, :N, self.bits] = priorities
        inputs[:, N, self.bits + 1] = 1
        targets = np.zeros((B, T, self.bits), np.float32)
        order = np.argsort(-priorities, axis=1)[:, :K]  # [B, K]
        targets[:, N + 1 :] = np.take_along_axis(vectors, order[..., None], axis=1)
        mask = np.zeros((B, T), bool)
        mask[:, N + 1 :] = True
        return Sequences(inputs, targets, mask)

    def eased(self, share: float) -> "PrioritySort":
        """See `Generator`: fewer vectors, from two on."""
        return dataclasses.replace(
            self,
            given=grow(2, self.given, share),
            expected=grow(2, self.expected, share),
        )

    def generalizations(self) -> Mapping[str, "PrioritySort"]:
        """The sequences of training: the paper tests no others."""
        return {f"{self.given} vectors": self}

    def rows_needed(self) -> int:
        """One for each vector."""
        return self.given
