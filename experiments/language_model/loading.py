"""Loads a trained run."""

from pathlib import Path

from jax.sharding import Mesh

from experiments.errors import UserError
from experiments.language_model.config import Config
from experiments.language_model.model import LanguageModel, build_model
from experiments.runs.folder import Run
from experiments.training import loading
from experiments.training.loading import load_checkpoint

LoadedRun = loading.LoadedRun[Config, LanguageModel]


def load_run(
    folder: Path | str, checkpoint: str = "best", *, mesh: Mesh | None = None
) -> LoadedRun:
    """Loads a language-model run.

    Args:
      folder: of the run.
      checkpoint: "best" by validation loss, "last", or "mean" of the newest.
      mesh: the devices; by default all there are.

    Raises:
      UserError: if the folder holds no such run, or its checkpoint is missing,
        damaged or of another config.
    """
    run = Run.open(folder)
    config = run.config_as(Config)
    tokenizer = config.tokenizer.load(run.folder)
    if tokenizer is None:
        raise UserError(
            f"{run.folder}: expected the run's tokeniser (tokenizer.json or "
            "tokenizer.model), got none (it stopped before it began: train again)"
        )
    return load_checkpoint(
        run, config, lambda: build_model(config, tokenizer), checkpoint, mesh
    )
