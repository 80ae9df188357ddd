"""Padded batches of token ids: what a batch is, and how examples are copied into it.

Which examples a batch holds is decided elsewhere: in `training_batches` (shuffled) and
in `evaluation_batches` (each example once, in a fixed order).
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.datasets.pairs.bucketing import Shape
from experiments.datasets.tokenizers.sentences import BOS, EOS, PAD

Ids: TypeAlias = Sequence[int] | np.ndarray

PADDING_ROW = -1  # stands where an example's index would; the row holds only PAD


class Batch(NamedTuple):
    """Token ids of a batch; the mask of either side is `ids != PAD`.

    A row of only PAD completes a batch. It has no loss, since it has no target.

    Attributes:
      source: source ids with EOS, then PAD, int32 [B, S].
      target: target ids with EOS, then PAD, int32 [B, T].
    """

    source: np.ndarray
    target: np.ndarray


def previous_tokens(target: Array) -> Array:
    """The token before each target position: BOS, then the target without its last."""
    return jnp.concatenate([jnp.full_like(target[:, :1], BOS), target[:, :-1]], axis=1)


def output_limits(
    lengths: Array, width: int, *, ratio: float, extra: int
) -> tuple[Array, int]:
    """Limits each output by the length of its own source, whatever its batch.

    Args:
      lengths: of the sources, 0 of a padding row, [B].
      width: that the sources are padded to.
      ratio: of the longest output to the source.
      extra: what is added to it.

    Returns:
      The limit of each row, 0 of a padding row, [B]; and that of any row, static.
    """
    # Rounded here: in float32, on the device, a product may fall on another integer.
    longest = [int(length * ratio) + extra for length in range(width + 1)]
    return jnp.array([0, *longest[1:]], jnp.int32)[lengths], longest[-1]


def example_lengths(examples: Sequence[tuple[Ids, Ids]]) -> np.ndarray:
    """Returns the source and target lengths of all examples, without EOS, [N, 2].

    Takes the attribute `lengths` if there is one; otherwise reads every example.
    """
    lengths = getattr(examples, "lengths", None)
    if lengths is None:
        lengths = [
            (len(examples[i][0]), len(examples[i][1])) for i in range(len(examples))
        ]
    # Without examples the array is [0]; the reshape makes it [0, 2].
    return np.asarray(lengths, np.int64).reshape(-1, 2)


def pad_batch(
    examples: Sequence[tuple[Ids, Ids]], indices: np.ndarray, shape: Shape
) -> Batch:
    """Copies examples into a batch and pads both sides to the lengths of a shape.

    Args:
      examples: source and target ids, without EOS; random access.
      indices: the example of each row, or PADDING_ROW, [B]. B may be less than
        `shape.rows`: one process makes only its own rows.
      shape: the shape of the global batch, which gives S and T.

    Returns:
      The batch, int32 [B, S] and [B, T].
    """
    source = np.full((len(indices), shape.source), PAD, np.int32)
    target = np.full((len(indices), shape.target), PAD, np.int32)
    for row, index in enumerate(indices.tolist()):
        if index != PADDING_ROW:
            example = examples[index]
            fill_row(source[row], example[0])
            fill_row(target[row], example[1])
    return Batch(source, target)


def fill_row(row: np.ndarray, ids: Ids) -> None:
    """Copies ids and EOS to the beginning of a row; the rest stays as it is (PAD)."""
    row[: len(ids)] = ids
    row[len(ids)] = EOS
