"""The one trainer: takes any task from its config to trained parameters in a run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import optax
from jax.sharding import Mesh

from attnjax.parallel import (
    batch_sharding,
    make_global_batch,
    make_mesh,
    replicate,
    replicated_sharding,
)
from attnjax.train import Batch, Params, TrainState, init_state, make_train_step
from experiments.cli.checks import check_numbers
from experiments.errors import UserError
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.data_file import check_data
from experiments.runs.folder import Run
from experiments.runs.processes import on_main, place_batch
from experiments.training.config import TrainingConfig
from experiments.training.fit import fit
from experiments.training.task import Task, TaskSetup

# A resumed run may train for longer, log and save at other steps, and find its data
# elsewhere; all else must agree.
MUTABLE_FIELDS = (
    *("steps", "log_every", "save_every", "keep_last"),
    *("data.raw_dir", "data.data_dir"),
)

Config = TypeVar("Config", bound=TrainingConfig)


def train(
    make_task: Callable[[Config, TaskSetup], Task],
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda text: None,
    mesh: Mesh | None = None,
    title: str = "",
) -> Params:
    """Trains a task in a run folder, from the start or from its last checkpoint.

    Args:
      make_task: the task's class, or a function of config and setup that returns one.
      config: the settings of the run.
      folder: folder of the run; new or empty unless `resume`. It is created once the
        task has accepted the config.
      resume: continue the run in the folder if there is one.
      say: reports what is being prepared.
      mesh: the devices; by default all there are.
      title: name on the screen; by default that of the folder.

    Returns:
      The parameters after the last step, or their EMA if one is kept.

    Raises:
      UserError: if a setting or the data are invalid, the folder cannot be used, or
        the loss stops being finite.
      SystemExit: with code 143, 130 or 129 after SIGTERM, Ctrl-C or SIGHUP, once a
        checkpoint is saved.
    """
    check_numbers(config)
    Run.check(folder, config, resume=resume, mutable_fields=MUTABLE_FIELDS)
    mesh = make_mesh() if mesh is None else mesh
    on_main(lambda: _check_steps(folder, config.steps))
    task = make_task(config, TaskSetup(mesh, folder if resume else None, say))
    tx = config.optimizer.build(config.steps)
    fingerprints = task.fingerprints()
    on_main(lambda: check_data(folder, fingerprints))
    run = Run.create(folder, config, resume=resume, mutable_fields=MUTABLE_FIELDS)
    on_main(lambda: run.write_files(task.save, fingerprints))
    if summary := task.summary():
        say(summary)
    return _fit(task, config, tx, run, mesh, title)


def _check_steps(folder: Path, steps: int) -> None:
    """Refuses to resume a run with fewer steps than it has taken."""
    taken = max(Checkpoints(folder / "checkpoints").manifests(), default=0)
    if steps < taken:
        raise UserError(
            f"steps: expected at least the {taken} that the run in {folder} has taken, "
            f"got {steps}"
        )


def _fit(
    task: Task,
    config: TrainingConfig,
    tx: optax.GradientTransformation,
    run: Run,
    mesh: Mesh,
    title: str,
) -> Params:
    """Builds state and step, and runs the loop."""
    keep_ema = config.ema_decay is not None
    state = replicate(init_state(task.init_params(), tx, ema=keep_ema), mesh)
    sharding: Any = replicated_sharding(mesh)
    carry = task.initial_carry()
    if carry is not None:
        state = state._replace(carry=place_batch(carry, mesh))
        sharding = TrainState(
            sharding, sharding, sharding, sharding, batch_sharding(mesh)
        )
    state = fit(
        run,
        state=state,
        train_step=make_train_step(
            task.loss if carry is None else task.stream_loss,
            tx,
            accumulation_steps=config.accumulation_steps,
            ema_decay=config.ema_decay,
            state_sharding=sharding,
        ),
        batches=lambda start: global_batches(task, mesh, start),
        steps=config.steps,
        rng=replicate(jax.random.key(config.seed), mesh),
        evaluate=task.evaluate,
        samples=task.samples,
        log_every=config.log_every,
        eval_every=config.eval_every,
        save_every=config.save_every,
        keep_last=config.keep_last,
        best=task.best,
        title=title,
        num_shapes=task.num_shapes(),
        unit=task.unit,
    )
    return state.params if state.ema is None else state.ema


def global_batches(task: Task, mesh: Mesh, start: int) -> Iterator[Batch]:
    """Places the batches of a task on the devices, split by rows."""
    return (make_global_batch(batch, mesh) for batch in task.batches(start))
