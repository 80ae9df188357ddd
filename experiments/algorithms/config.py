"""The settings of a run: its task, its model."""

import dataclasses

import tyro

from attnjax.models.ntm import NTMConfig
from attnjax.models.rnn import RNNConfig
from experiments.algorithms.sequences import Algorithm
from experiments.training.config import TrainingConfig

ModelConfig = NTMConfig | RNNConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """All settings of a run that learns an algorithm."""

    algorithm: tyro.conf.AvoidSubcommands[Algorithm]
    """Task whose sequences are generated."""
    model: tyro.conf.AvoidSubcommands[ModelConfig]
    """Model; its input_dim and output_dim are those of the task."""
    batch_size: int = 32
    """Number of sequences per batch."""
    curriculum_steps: int = 0
    """Number of steps during which sequences grow to the task's own length, from the
    shortest ones; 0: they have it from the start."""
    validation_size: int = 640
    """Number of sequences of the validation set, the same for every seed."""
