"""A trained run with its model and parameters, as every experiment loads it."""

import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

from jax.sharding import Mesh

from attnjax.parallel import make_mesh
from attnjax.train import Params
from experiments.runs.folder import Run
from experiments.training.config import TrainingConfig
from experiments.training.parameters import abstract_params

ConfigT = TypeVar("ConfigT", bound=TrainingConfig)
ModelT = TypeVar("ModelT")


@dataclasses.dataclass(frozen=True)
class LoadedRun(Generic[ConfigT, ModelT]):
    """A run's model and parameters, on the devices."""

    run: Run
    config: ConfigT
    model: ModelT
    params: Params  # on every device of the mesh
    step: int  # of the checkpoint
    mesh: Mesh


def load_checkpoint(
    run: Run,
    config: ConfigT,
    build: Callable[[], tuple[ModelT, Params]],
    checkpoint: str,
    mesh: Mesh | None,
) -> LoadedRun[ConfigT, ModelT]:
    """Loads a run's parameters; those of its model are never drawn.

    Args:
      run: the run.
      config: its settings.
      build: builds the model and its parameters.
      checkpoint: "best", "last", or "mean" of the newest.
      mesh: the devices; None takes all there are.

    Raises:
      UserError: if the checkpoint is missing, damaged or of another config.
    """
    step = run.checkpoint_step(checkpoint)
    mesh = make_mesh() if mesh is None else mesh
    model, shapes = abstract_params(build, mesh)
    count = run.saved_keep_last(config.keep_last)
    params = run.load_params(checkpoint, like=shapes, count=count)
    return LoadedRun(run, config, model, params, step, mesh)
