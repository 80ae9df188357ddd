"""The settings that every training run has, whatever its task."""

import dataclasses

from experiments.training.optimizer import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a run that do not depend on its task."""

    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    """Optimiser, learning-rate schedule, gradient clipping and weight decay."""
    seed: int = 0
    """Seed of the initial parameters, of dropout and of the order of the data."""
    steps: int = 10_000
    """Number of optimiser steps."""
    ema_decay: float | None = None
    """Decay of an exponential moving average (EMA) of the parameters, which is then
    evaluated and used in their place; None keeps none."""
    accumulation_steps: int = 1
    """Number of microbatches that a batch is split into; gradients are accumulated
    over them to save memory."""
    log_every: int = 50
    """Number of steps between lines of the metrics log."""
    eval_every: int = 500
    """Number of steps between evaluations, each with a checkpoint; 0 evaluates after
    the last step only."""
    save_every: int = 500
    """Number of steps between checkpoints; 0 saves at evaluations only."""
    keep_last: int = 2
    """Number of newest checkpoints to keep besides the best; `--checkpoint mean`
    averages their parameters."""
