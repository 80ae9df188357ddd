"""Batch shapes: of training, and of translations that are scored."""

import math
from collections.abc import Sequence

import numpy as np

from experiments.datasets.pairs.bucketing import Shape, choose_shapes
from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.pairs.training_batches import TokenBatches
from experiments.errors import UserError
from experiments.translate.config import Config

EVALUATION_SHAPES = 4  # each is compiled


def plan_batches(
    config: Config, examples: TokenizedPairs, devices: int
) -> TokenBatches:
    """Plans the training batches of a run.

    Their rows are a multiple of `batch_size_multiple`, so that runs on 1, 2, 4 or 8
    devices see the same batches, and of the number of devices and microbatches.

    Raises:
      UserError: if the settings do not fit the data or the devices.
    """
    multiple = math.lcm(config.batch_size_multiple, devices * config.accumulation_steps)
    shapes = None
    if config.batch_size is not None:
        if config.batch_size % multiple:
            raise UserError(
                f"batch_size: expected a multiple of {multiple} (of "
                f"batch_size_multiple, and of {devices} devices x "
                f"{config.accumulation_steps} accumulation steps), "
                f"got {config.batch_size}"
            )
        shapes = _shapes_of_rows(config, examples, config.batch_size)
    return TokenBatches(
        examples,
        batch_tokens=config.batch_tokens,
        seed=config.seed,
        buckets=config.num_buckets,
        shapes=shapes,
        row_multiple=multiple,
        max_length=config.max_length,
    )


def _shapes_of_rows(
    config: Config, examples: TokenizedPairs, rows: int
) -> list[Shape] | None:
    """Chooses shapes with a given number of rows; None if every example is too long."""
    lengths = examples.lengths[(examples.lengths <= config.max_length).all(axis=1)] + 1
    if not len(lengths):
        return None
    tokens = rows * int(lengths.max())
    chosen = choose_shapes(lengths, batch_tokens=tokens, buckets=config.num_buckets)
    return [Shape(rows, shape.source, shape.target) for shape in chosen]


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
