"""Loads a trained run."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from jax.sharding import Mesh

from attnjax.parallel import make_mesh
from attnjax.train import Params
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
from experiments.training.parameters import abstract_params


class LoadedRun(NamedTuple):
    """A run's model and parameters, on the devices."""

    run: Run
    config: Config
    model: LanguageModel
    params: Params  # on every device of the mesh
    step: int  # of the checkpoint
    mesh: Mesh

    def splits(self, raw_dir: Path | None = None) -> Splits:
        """The texts of the run.

        Args:
          raw_dir: where the raw data are, if not where the config says.

        Raises:
          UserError: if they are missing, or the data are not a data set in a folder.
        """
        data = self.config.data
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
    step = run.checkpoint_step(checkpoint)
    mesh = make_mesh() if mesh is None else mesh
    model, shapes = abstract_params(lambda: build_model(config, tokenizer), mesh)
    params = run.load_params(checkpoint, like=shapes, count=config.keep_last)
    return LoadedRun(run, config, model, params, step, mesh)
