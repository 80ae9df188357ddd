"""Loads a trained run."""

from pathlib import Path

from jax.sharding import Mesh

from experiments.errors import UserError
from experiments.runs.folder import Run
from experiments.training import loading
from experiments.training.loading import load_checkpoint
from experiments.transduce.config import Config
from experiments.transduce.model import Alphabets, Reader, build_model

LoadedRun = loading.LoadedRun[Config, Reader]


def load_run(
    folder: Path | str, checkpoint: str = "best", *, mesh: Mesh | None = None
) -> LoadedRun:
    """Loads a run that reads words.

    Args:
      folder: of the run.
      checkpoint: "best" by validation WER, "last", or "mean" of the newest.
      mesh: the devices; by default all there are.

    Raises:
      UserError: if the folder holds no such run, or its checkpoint is missing,
        damaged or of another config.
    """
    run = Run.open(folder)
    config = run.config_as(Config)
    alphabets = Alphabets.saved(run.folder)
    if alphabets is None:
        raise UserError(
            f"{run.folder}: expected the run's source.json and target.json, got none "
            "(it stopped before it began: train again)"
        )
    return load_checkpoint(
        run, config, lambda: build_model(config, alphabets), checkpoint, mesh
    )
