"""Copy, and repeat copy: bits that are said again, once or several times."""

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
class Copy(Generator):
    """Random vectors and a delimiter; then, without input, the same vectors.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), section 4.1.
    """

    bits: int = 8
    """Number of bits of a vector."""
    min_length: int = 1
    """Smallest number of vectors."""
    max_length: int = 20
    """Largest number of vectors."""

    def __post_init__(self) -> None:
        check_range("length", self.min_length, self.max_length)

    @property
    def input_dim(self) -> int:
        """The bits and the delimiter."""
        return self.bits + 1

    @property
    def output_dim(self) -> int:
        """The bits."""
        return self.bits

    def generate(self, rng: np.random.Generator, batch_size: int) -> Sequences:
        """Generates a batch of 2 * max_length + 1 steps."""
        B, L, T = batch_size, self.max_length, 2 * self.max_length + 1
        lengths = rng.integers(self.min_length, L, B, endpoint=True)
        given = np.arange(L) < lengths[:, None]  # [B, L]
        vectors = random_bits(rng, B, L, self.bits) * given[..., None]
        inputs = np.zeros((B, T, self.input_dim), np.float32)
        targets = np.zeros((B, T, self.output_dim), np.float32)
        mask = np.zeros((B, T), bool)
        inputs[:, :L, :-1] = vectors
        inputs[np.arange(B), lengths, -1] = 1
        rows, at = np.nonzero(given)
        answer = lengths[rows] + 1 + at
        targets[rows, answer] = vectors[rows, at]
        mask[rows, answer] = True
        return Sequences(inputs, targets, mask)

    def eased(self, share: float) -> "Copy":
        """See `Generator`: shorter copies."""
        longest = grow(self.min_length, self.max_length, share)
        return dataclasses.replace(self, max_length=longest)

    def generalizations(self) -> Mapping[str, "Copy"]:
        """Lengths of 1, 1.5, 2.5, 4 and 6 times the longest: the paper's, and 80."""
        longest = self.max_length
        lengths = [longest * n // 2 for n in (2, 3, 5, 8, 12)]
        return {
            f"length {n}": dataclasses.replace(self, min_length=n, max_length=n)
            for n in lengths
        }

    def rows_needed(self) -> int:
        """One for each vector."""
        return self.max_length


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatCopy(Generator):
    """Random vectors and how often to repeat them; then they, and an end marker.

    The number of repeats is one input, normalised by mean and standard deviation of
    its distribution in training. The end marker is expected once, after the last copy.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), section 4.2.
    """

    bits: int = 8
    """Number of bits of a vector."""
    min_length: int = 1
    """Smallest number of vectors."""
    max_length: int = 10
    """Largest number of vectors."""
    min_repeats: int = 1
    """Smallest number of copies."""
    max_repeats: int = 10
    """Largest number of copies."""
    trained_repeats: tuple[int, int] | None = None
    """Smallest and largest number of copies in training, by which their number is
    normalised; None: those above."""

    def __post_init__(self) -> None:
        check_range("length", self.min_length, self.max_length)
        check_range("repeats", self.min_repeats, self.max_repeats)

    @property
    def input_dim(self) -> int:
        """The bits, the delimiter, and the number of repeats."""
        return self.bits + 2

    @property
    def output_dim(self) -> int:
        """The bits and the end marker."""
        return self.bits + 1

    def normalize(self, repeats: np.ndarray) -> np.ndarray:
        """Brings numbers of repeats to mean 0 and variance 1 over those of training.

        Example:
          >>> RepeatCopy().normalize(np.array([5.5]))
          array([0.])
        """
        low, high = self.trained_repeats or (self.min_repeats, self.max_repeats)
        variance = ((high - low + 1) ** 2 - 1) / 12
        return (repeats - (low + high) / 2) / max(np.sqrt(variance), 1e-6)

    def generate(self, rng: np.random.Generator, batch_size: int) -> Sequences:
        """Generates a batch of max_length + 1 + max_length * max_repeats + 1 steps."""
        B, L, R = batch_size, self.max_length, self.max_repeats
        T = L + 1 + L * R + 1
        lengths = rng.integers(self.min_length, L, B, endpoint=True)
        repeats = rng.integers(self.min_repeats, R, B, endpoint=True)
        vectors = random_bits(rng, B, L, self.bits)
        inputs = np.zeros((B, T, self.input_dim), np.float32)
        targets = np.zeros((B, T, self.output_dim), np.float32)
        every = np.arange(B)
        given = np.arange(L) < lengths[:, None]  # [B, L]
        inputs[:, :L, : self.bits] = vectors * given[..., None]
        inputs[every, lengths, self.bits] = 1
        inputs[every, lengths, self.bits + 1] = self.normalize(repeats)
        # Steps of the answer, counted from 0: copies, then the end marker.
        step = np.arange(T)[None, :] - (lengths[:, None] + 1)  # [B, T]
        copies = (lengths * repeats)[:, None]
        rows, at = np.nonzero((step >= 0) & (step < copies))
        targets[rows, at, : self.bits] = vectors[rows, step[rows, at] % lengths[rows]]
        targets[every, lengths + 1 + copies[:, 0], self.bits] = 1
        return Sequences(inputs, targets, (step >= 0) & (step <= copies))

    def eased(self, share: float) -> "RepeatCopy":
        """See `Generator`: fewest repeats for a third of it, then more and more.

        So plain copying is learned first. The input that counts repeats means the same
        at every level.
        """
        return dataclasses.replace(
            self,
            max_repeats=grow(
                self.min_repeats, self.max_repeats, max(0, 1.5 * share - 0.5)
            ),
            trained_repeats=self.trained_repeats
            or (self.min_repeats, self.max_repeats),
        )

    def generalizations(self) -> Mapping[str, "RepeatCopy"]:
        """Twice the longest sequence, and twice as many repeats, as in figure 8."""

        def fixed(length: int, repeats: int) -> RepeatCopy:
            return dataclasses.replace(
                self,
                min_length=length,
                max_length=length,
                min_repeats=repeats,
                max_repeats=repeats,
                trained_repeats=self.trained_repeats
                or (self.min_repeats, self.max_repeats),
            )

        L, R = self.max_length, self.max_repeats
        sizes = [(L, R), (2 * L, R), (L, 2 * R)]
        return {f"length {a}, {b} repeats": fixed(a, b) for a, b in sizes}

    def rows_needed(self) -> int:
        """One for each vector."""
        return self.max_length
