"""Loads a trained run."""

from pathlib import Path

from jax.sharding import Mesh

from experiments.datasets.strokes.alphabet import Alphabet
from experiments.datasets.strokes.lines import Statistics
from experiments.handwriting.config import Config
from experiments.handwriting.model import Writer, build_model
from experiments.runs.folder import Run
from experiments.training import loading
from experiments.training.loading import load_checkpoint

LoadedRun = loading.LoadedRun[Config, Writer]


def load_run(
    folder: Path | str, checkpoint: str = "best", *, mesh: Mesh | None = None
) -> LoadedRun:
    """Loads a run.

    Args:
      folder: of the run.
      checkpoint: "best" by nats per line, "last", or "mean" of the newest.
      mesh: the devices; by default all there are.

    Raises:
      UserError: if the folder holds no such run, or a file of it is missing, damaged
        or of another config.
    """
    run = Run.open(folder)
    config = run.config_as(Config)
    statistics = Statistics.load(run.folder)
    alphabet = Alphabet.load(run.folder) if config.with_text else None
    return load_checkpoint(
        run,
        config,
        lambda: build_model(config, statistics, alphabet),
        checkpoint,
        mesh,
    )
