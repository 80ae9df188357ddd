"""Batch shapes: of training, and of translations that are scored."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from experiments.datasets.pairs.batching import pad_batch
from experiments.datasets.pairs.bucketing import Shape, choose_shapes
from experiments.datasets.pairs.evaluation_batches import (
    EvaluationBatch,
    evaluation_batches,
)
from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.pairs.training_batches import TokenBatches
from experiments.errors import UserError
from experiments.translate.config import Config, max_positions

EVALUATION_SHAPES = 4  # each is compiled
BATCHES_PER_SHAPE = 4  # of an epoch; for fewer, compiling takes longer than it saves


def plan_batches(
    config: Config,
    examples: TokenizedPairs,
    devices: int,
    pad: Callable[..., Any] = pad_batch,
) -> TokenBatches:
    """Plans the training batches of a run.

    Their rows are a multiple of `batch_size_multiple`, so that runs on 1, 2, 4 or 8
    devices see the same batches, and of the number of devices and microbatches.

    Raises:
      UserError: if the settings do not fit the data or the devices.
    """
    multiple = math.lcm(config.batch_size_multiple, devices * config.accumulation_steps)
    shapes, buckets = None, enough_buckets(config, examples)
    if config.batch_size is not None:
        if config.batch_size % multiple:
            raise UserError(
                f"batch_size: expected a multiple of {multiple} (of "
                f"batch_size_multiple, and of {devices} devices x "
                f"{config.accumulation_steps} accumulation steps), "
                f"got {config.batch_size}"
            )
        shapes = _shapes_of_rows(config, examples, config.batch_size, buckets)
    return TokenBatches(
        examples,
        batch_tokens=config.batch_tokens,
        seed=config.seed,
        buckets=buckets,
        shapes=shapes,
        row_multiple=multiple,
        max_length=config.max_length,
        pad=pad,
    )


def enough_buckets(config: Config, examples: TokenizedPairs) -> int:
    """Lowers the number of shapes for few data, in which each would occur rarely.

    The number is a function of the data, not of the steps of the run: a resumed run
    with more steps has the same batches.
    """
    lengths = _kept_lengths(config, examples)
    if config.batch_size is None:
        batches = lengths.max(axis=1, initial=0).sum() / config.batch_tokens
    else:
        batches = len(lengths) / config.batch_size
    return min(config.num_buckets, max(1, int(batches) // BATCHES_PER_SHAPE))


def _kept_lengths(config: Config, examples: TokenizedPairs) -> np.ndarray:
    """The lengths with EOS of the examples that are short enough, [N, 2]."""
    kept = (examples.lengths <= config.max_length).all(axis=1)
    return examples.lengths[kept] + 1


def _shapes_of_rows(
    config: Config, examples: TokenizedPairs, rows: int, buckets: int
) -> list[Shape] | None:
    """Chooses shapes with a given number of rows; None if every example is too long."""
    lengths = _kept_lengths(config, examples)
    if not len(lengths):
        return None
    tokens = rows * int(lengths.max())
    chosen = choose_shapes(lengths, batch_tokens=tokens, buckets=buckets)
    return [Shape(rows, shape.source, shape.target) for shape in chosen]


def check_positions(config: Config, shapes: Sequence[Shape]) -> None:
    """Checks that the model has positions for the longest training pair.

    Raises:
      UserError: if it has learned fewer.
    """
    most, longest = max_positions(config.model), 0
    for shape in shapes:
        longest = max(longest, shape.source, shape.target)
    if most is not None and longest > most:
        raise UserError(
            f"model.max_length: expected at least {longest} learned positions (the "
            f"longest training pair and EOS), got {most} (raise it, or lower "
            "max_length, so that long pairs are left out)"
        )


def batch_pairs(
    encoded: TokenizedPairs, *, batch_tokens: int, devices: int
) -> Iterator[EvaluationBatch]:
    """Batches the pairs of one text, each once."""
    shapes = evaluation_shapes([encoded], batch_tokens=batch_tokens, devices=devices)
    return evaluation_batches(encoded, shapes)


def evaluation_shapes(
    examples: Sequence[TokenizedPairs], *, batch_tokens: int, devices: int
) -> tuple[Shape, ...]:
    """Chooses the few shapes in which all pairs of several data sets fit."""
    lengths = np.concatenate([part.lengths for part in examples]) + 1  # EOS
    return choose_shapes(
        lengths,
        batch_tokens=max(batch_tokens, int(lengths.max()) * devices),
        buckets=EVALUATION_SHAPES,
        row_multiple=devices,
    )
