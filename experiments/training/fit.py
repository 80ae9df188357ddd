"""`fit`: runs a jitted train step over batches; the only code that does I/O meanwhile.

It knows no model. It takes a step, a state, and batches by step number, so that a run
that was stopped or killed resumes from its last checkpoint and ends with the same
bits. `Run` is the folder of the run (`experiments.runs.folder`); `trainer.train` calls
`fit` for a whole task; `loop.Loop` holds what happens at each step.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax

from attnjax.train import Batch, Params, TrainState, TrainStep
from experiments.runs.folder import Run
from experiments.training.loop import Loop
from experiments.training.schedule import Schedule
from experiments.training.session import Session, open_session

__all__ = ["Run", "fit"]


def fit(
    run: Run,
    *,
    state: TrainState,
    train_step: TrainStep,
    batches: Callable[[int], Iterator[Batch]],
    steps: int,
    rng: jax.Array,
    evaluate: Callable[[Params], Mapping[str, float]] | None = None,
    samples: Callable[[Params], Iterable[str]] | None = None,
    log_every: int = 50,
    eval_every: int = 0,
    save_every: int = 0,
    keep_last: int = 2,
    best: tuple[str, str] = ("bleu", "max"),
    title: str = "",
    num_shapes: int | None = None,
    unit: str = "tokens",
    session: Session | None = None,
) -> TrainState:
    """Trains up to a number of steps, from the run's last checkpoint if it has one.

    An evaluation saves the checkpoint first, so that nothing is lost if it is cut
    short; a resumed run then repeats the evaluation. With several processes, all of
    them call this with the same arguments and see the same folder; the main process
    writes. They agree on a stop at every `log_every`-th step.

    Args:
      run: the folder, from `Run.create`.
      state: the initial state, placed on the devices that train.
      train_step: `(state, batch, rng) -> (state, metrics)` with the metrics of
        `attnjax.train.make_train_step`. It may donate the state.
      batches: `batches(step)` iterates over the batches, on the devices, of step
        number `step` (from 0) and all that follow.
      steps: total number of steps, those of earlier sessions included.
      rng: random key, the same in every session.
      evaluate: maps parameters to metrics, logged as `validation/NAME`.
      samples: maps parameters to lines of text, shown after each evaluation.
      log_every: steps between two lines of the log.
      eval_every: steps between two evaluations; the last step is always evaluated.
      save_every: steps between two checkpoints, besides those of the evaluations and
        of the last step.
      keep_last: number of newest checkpoints to keep, besides the best.
      best: the metric of `evaluate` that chooses the best checkpoint, and whether its
        "max" or "min" is best.
      title: name on the screen; by default that of the folder.
      num_shapes: number of shapes that batches can have, each of which is compiled;
        shown beside the one that is being compiled.
      unit: what the loss is a mean over, as log and screen name it.
      session: screen and stop request that concurrent trainings share, each in its
        thread; by default this training opens its own.

    Returns:
      The state after the last step.

    Raises:
      UserError: if the run cannot be resumed, or the loss stops being finite.
      SystemExit: with code 143, 130 or 129 after SIGTERM, Ctrl-C or SIGHUP, once a
        checkpoint is saved.
      ValueError: if a number of steps is out of range, or `batches` ends early.
    """
    schedule = Schedule(
        steps=steps,
        log_every=log_every,
        eval_every=eval_every,
        save_every=save_every,
        keep_last=keep_last,
        best=best,
    )
    owned = open_session() if session is None else contextlib.nullcontext(session)
    with owned as session:
        loop = Loop(
            run,
            schedule,
            train_step=train_step,
            batches=batches,
            rng=rng,
            evaluate=evaluate,
            samples=samples,
            title=title,
            num_shapes=num_shapes,
            unit=unit,
            session=session,
        )
        return loop.run_training(state)
