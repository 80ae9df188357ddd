"""Dynamic N-grams: bits from a table that is new in each sequence."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from experiments.algorithms.sequences.base import Generator, Sequences
from experiments.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicNGrams(Generator):
    """Bits, each drawn by the probability that a table gives for the bits before it.

    The table has a probability for every context of `context` bits, drawn from
    Beta(1/2, 1/2) for each sequence. The first bits are fair, and not predicted.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), section 4.4.
    """

    context: int = 5
    """Number of bits that a bit depends on; 5 makes 6-grams."""
    length: int = 200
    """Number of bits of a sequence."""

    def __post_init__(self) -> None:
        if self.length <= self.context:
            raise UserError(
                f"length: expected more than the context of {self.context} bits, got "
                f"{self.length} (nothing would be predicted)"
            )

    @property
    def input_dim(self) -> int:
        """The last bit."""
        return 1

    @property
    def output_dim(self) -> int:
        """The next bit."""
        return 1

    def generate(self, rng: np.random.Generator, batch_size: int) -> Sequences:
        """Generates a batch of length - 1 steps: each bit predicts the next."""
        B, T = batch_size, self.length
        tables = rng.beta(0.5, 0.5, (B, 2**self.context))
        bits = np.zeros((B, T), np.int64)
        bits[:, : self.context] = rng.integers(0, 2, (B, self.context))
        uniform = rng.random((B, T))
        for t in range(self.context, T):
            probability = tables[np.arange(B), self.contexts(bits, t)]
            bits[:, t] = uniform[:, t] < probability
        x = bits[..., None].astype(np.float32)  # [B, T] -> [B, T, 1]
        predicted = np.arange(1, T) >= self.context
        return Sequences(x[:, :-1], x[:, 1:], np.tile(predicted, (B, 1)))

    def contexts(self, bits: np.ndarray, t: int) -> np.ndarray:
        """Reads the bits before step t as a binary number: [B, T] -> [B]."""
        powers = 2 ** np.arange(self.context)[::-1]
        return bits[:, t - self.context : t].astype(np.int64) @ powers

    def optimal_bits(self, sequences: Sequences) -> np.ndarray:
        r"""Computes the cost of the best possible estimator, which knows the prior.

        .. math:: P(b = 1 | N_1, N_0, c) = \frac{N_1 + 1/2}{N_1 + N_0 + 1}

        with N_1 and N_0 the ones and zeros that have followed the context c so far.

        Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eq. 10; Murphy 2012.

        Args:
          sequences: a batch that `generate` made.

        Returns:
          Bits of each sequence, over the predicted steps, shape [B].
        """
        first = sequences.inputs[:, :1, 0]
        # [B, 1], [B, T-1] -> [B, T]
        bits = np.concatenate([first, sequences.targets[..., 0]], axis=1)
        B, T = bits.shape
        every, cost = np.arange(B), np.zeros(B)
        seen = np.zeros((B, 2**self.context, 2))
        for t in range(self.context, T):
            context, bit = self.contexts(bits, t), bits[:, t].astype(np.int64)
            counts = seen[every, context]  # [B, 2]
            probability = (counts[every, bit] + 0.5) / (counts.sum(1) + 1)
            cost -= np.log2(probability)
            seen[every, context, bit] += 1
        return cost

    def generalizations(self) -> Mapping[str, "DynamicNGrams"]:
        """The sequences of training: the paper tests no others."""
        return {f"{self.length} bits": self}

    def rows_needed(self) -> int:
        """One for each context, to count in."""
        return 2**self.context
