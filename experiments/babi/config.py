"""The settings of a question-answering run: its stories and its model."""

import dataclasses

import tyro

from attnjax.models.memn2n import MemN2NConfig
from attnjax.models.memory_network import MemoryNetworkConfig
from experiments.datasets.babi.babi_builder import BAbI
from experiments.datasets.simulated_world.simulated_world_builder import SimulatedWorld
from experiments.training.config import TrainingConfig

DataConfig = BAbI | SimulatedWorld
ModelConfig = MemN2NConfig | MemoryNetworkConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """All settings of a question-answering run."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Stories and questions to train and evaluate on."""
    model: tyro.conf.AvoidSubcommands[ModelConfig]
    """Model; its vocabulary size is that of the training stories."""
    batch_size: int = 32
    """Number of questions per batch."""
    held_out: float = 0.1
    """Share of each task's training questions that validates instead; with 0, the
    training questions themselves validate."""
    linear_start_steps: int = 0
    """Number of steps at the start in which hops have no softmax (linear start)."""
