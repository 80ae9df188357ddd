"""Loads a trained run."""

import dataclasses
from pathlib import Path

from jax.sharding import Mesh

from experiments.datasets.text.datasets import (
    PennTreebank,
    Splits,
    TinyShakespeare,
    WikiText2,
)
from experiments.errors import UserError
from experiments.language_model.config import Config
from experiments.language_model.model import LanguageModel, build_model
from experiments.runs.folder import Run
from experiments.training import loading
from experiments.training.loading import load_checkpoint

LoadedRun = loading.LoadedRun[Config, LanguageModel]


def splits_of(config: Config, raw_dir: Path | None = None) -> Splits:
    """The texts of a run.

    Args:
      config: the settings of the run.
      raw_dir: where the raw data are, if not where the config says.

    Raises:
      UserError: if they are missing, or the data are not a data set in a folder.
    """
    data = config.data
    if raw_dir is None:
        return data.splits()
    if not isinstance(data, TinyShakespeare | PennTreebank | WikiText2):
        raise UserError(
            "raw_dir: expected none (this run's text is no data set in a folder; "
            "name files with --text)"
        )
    return dataclasses.replace(data, raw_dir=raw_dir).splits()


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
