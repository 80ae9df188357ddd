"""Loads a trained run."""

from pathlib import Path
from typing import NamedTuple

from jax.sharding import Mesh

from attnjax.parallel import make_mesh
from attnjax.train import Params
from experiments.runs.folder import Run
from experiments.training.parameters import abstract_params
from experiments.transduce.config import Config
from experiments.transduce.model import Alphabets, Reader, build_model


class LoadedRun(NamedTuple):
    """A run's model and parameters, on the devices."""

    run: Run
    config: Config
    reader: Reader
    params: Params  # on every device of the mesh
    step: int  # of the checkpoint
    mesh: Mesh


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
    alphabets = Alphabets.load(run.folder)
    step = run.checkpoint_step(checkpoint)
    mesh = make_mesh() if mesh is None else mesh
    reader, shapes = abstract_params(lambda: build_model(config, alphabets), mesh)
    params = run.load_params(checkpoint, like=shapes, count=config.keep_last)
    return LoadedRun(run, config, reader, params, step, mesh)
