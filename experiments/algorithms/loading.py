"""Loads a trained run."""

from pathlib import Path

from jax.sharding import Mesh

from experiments.algorithms.config import Config
from experiments.algorithms.model import SequenceBits, build_model
from experiments.runs.folder import Run
from experiments.training import loading
from experiments.training.loading import load_checkpoint

LoadedRun = loading.LoadedRun[Config, SequenceBits]


def load_run(
    folder: Path | str, checkpoint: str = "best", *, mesh: Mesh | None = None
) -> LoadedRun:
    """Loads a run.

    Args:
      folder: of the run.
      checkpoint: "best" by bits per sequence, "last", or "mean" of the newest.
      mesh: the devices; by default all there are.

    Raises:
      UserError: if the folder holds no such run, or its checkpoint is missing,
        damaged or of another config.
    """
    run = Run.open(folder)
    config = run.config_as(Config)
    return load_checkpoint(run, config, lambda: build_model(config), checkpoint, mesh)
