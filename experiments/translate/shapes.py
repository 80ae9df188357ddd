"""Batch shapes for translations that are given."""

from collections.abc import Sequence

import numpy as np

from experiments.datasets.pairs.bucketing import Shape, choose_shapes
from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.translate.loading import Loaded

SHAPES = 4  # each is compiled


def shapes_for(loaded: Loaded, parts: Sequence[TokenizedPairs]) -> tuple[Shape, ...]:
    """Chooses the few shapes in which all pairs of several sets fit."""
    lengths = np.concatenate([part.lengths for part in parts]) + 1  # EOS
    devices = loaded.mesh.size
    tokens = max(loaded.config.batch_tokens, int(lengths.max()) * devices)
    return choose_shapes(
        lengths, batch_tokens=tokens, buckets=SHAPES, row_multiple=devices
    )
