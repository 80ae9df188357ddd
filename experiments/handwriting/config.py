"""The settings of a run that writes: its data, its model."""

import dataclasses

import tyro

from attnjax.models.handwriting import HandwritingConfig
from experiments.datasets.iam_ondb.iam_ondb_builder import IAMOnDB
from experiments.datasets.omniglot_strokes.omniglot_strokes_builder import (
    OmniglotStrokes,
)
from experiments.datasets.pen_traces.pen_traces_builder import PenTraces
from experiments.training.config import TrainingConfig
from experiments.training.weight_noise import WeightNoiseConfig

DataConfig = PenTraces | OmniglotStrokes | IAMOnDB


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """All settings of a run that writes."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Lines of pen strokes to train and evaluate on."""
    model: HandwritingConfig = dataclasses.field(default_factory=HandwritingConfig)
    """Network; its num_symbols is that of the data, or 0."""
    with_text: bool = True
    """Whether the network reads the text through a window (synthesis), or only predicts
    the next point."""
    weight_noise: WeightNoiseConfig = dataclasses.field(
        default_factory=WeightNoiseConfig
    )
    """Noise on the weights as a regulariser."""
    batch_size: int = 32
    """Number of lines per batch."""
    num_buckets: int = 4
    """Number of batch shapes at most; each is compiled once."""
