"""What every task generates, and what the tasks share."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from experiments.errors import UserError


class Sequences(NamedTuple):
    """A batch of sequences, all padded to T steps."""

    inputs: np.ndarray  # [B, T, I], float32
    targets: np.ndarray  # [B, T, O], float32: bits, 0 or 1
    mask: np.ndarray  # [B, T], True = a step whose bits are predicted


class Generator(Protocol):
    """A task: generates sequences.

    A subclass is a frozen dataclass whose fields are the ranges of training.
    """

    @property
    @abstractmethod
    def input_dim(self) -> int:
        """Width of an input vector."""

    @property
    @abstractmethod
    def output_dim(self) -> int:
        """Number of bits that are predicted at each step."""

    @abstractmethod
    def generate(self, rng: np.random.Generator, batch_size: int) -> Sequences:
        """Generates a batch; a pure function of the generator's state."""

    def eased(self, share: float) -> Any:
        """Returns the task with shorter sequences: one level of a curriculum.

        Args:
          share: from 0, the shortest sequences, to 1, the task itself.
        """
        return self

    @abstractmethod
    def generalizations(self) -> Mapping[str, Any]:
        """Names what a run is evaluated on: name -> task.

        The first are the longest sequences of training, the others are harder.
        """

    @abstractmethod
    def rows_needed(self) -> int:
        """Counts the vectors that a sequence asks to remember at once."""


def check_range(name: str, low: int, high: int, least: int = 1) -> None:
    """Checks the ends of a range, which both belong to it.

    Raises:
      UserError: if there is nothing between them.
    """
    if not least <= low <= high:
        raise UserError(
            f"min_{name}, max_{name}: expected {least} <= min <= max, got {low} and "
            f"{high} (both ends belong to the range)"
        )


def grow(shortest: int, longest: int, share: float) -> int:
    """Goes from the shortest length to the longest, all for as long.

    Example:
      >>> [grow(2, 4, share) for share in (0, 0.3, 0.4, 0.7, 1)]
      [2, 2, 3, 4, 4]
    """
    low = min(shortest, longest)
    return min(longest, low + int((longest - low + 1) * share))


def random_bits(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Draws fair bits as float32."""
    return rng.integers(0, 2, shape).astype(np.float32)
