"""The training loop: the only code that does I/O while training.

The loop knows nothing of models: it takes a jitted step, a state, and batches by step
number, so that a run that was stopped, or killed, goes on from its last checkpoint to
the same bits. `Run` is the folder it keeps (`experiments.runs.folder`), `fit` trains,
and what happens at each step is `experiments.training.loop`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import jax

from attnjax.train import Batch, Params, TrainState, TrainStep
from experiments.runs.folder import Run
from experiments.training.loop import Loop, Schedule
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
    log_every: int = 50,
    evaluate_every: int = 0,
    save_every: int = 0,
    keep_last: int = 2,
    best: tuple[str, str] = ("bleu", "max"),
    title: str = "",
    session: Session | None = None,
) -> TrainState:
    """Trains to a number of steps, from the run's last checkpoint if it has one.

    At an evaluation the checkpoint is saved first, so that nothing is lost if the
    evaluation is cut short; it is then made up for when the run is resumed. With
    several processes, all of them call this with the same arguments and see the same
    folder; the first writes. They agree on a stop at every `log_every`-th step.

    Args:
      run: the folder, made by `Run.create`.
      state: the initial state, placed where training shall happen.
      train_step: `(state, batch, rng) -> (state, metrics)` with the metrics of
        `attnjax.train.make_train_step`. It may donate the state.
      batches: `batches(step)` iterates over the batches, ready for the device, of
        step number `step` (from 0) and all that follow.
      steps: number of steps in all, those of earlier sessions included.
      rng: random key, the same in every session.
      evaluate: measures parameters: names to numbers, logged as `validation/NAME`.
      log_every: steps between two lines of the log.
      evaluate_every: steps between two evaluations; there is one after the last step
        in any case.
      save_every: steps between two checkpoints, besides those of the evaluations and
        the one after the last step.
      keep_last: how many of the newest checkpoints are kept, besides the best.
      best: which number of `evaluate` chooses the checkpoint to keep, and whether its
        "max" or "min" is best.
      title: what to call this on the screen; by default the name of the folder.
      session: what trainings that run at the same time, each in a thread of its own,
        share; by default this one has a session to itself.

    Returns:
      The state after the last step.

    Raises:
      UserError: if the run cannot be resumed, or the loss stops being finite.
      SystemExit: with code 143 or 130 after SIGTERM or Ctrl-C, when all is saved.
      ValueError: if a number of steps makes no sense, or `batches` ends early.
    """
    schedule = Schedule(
        steps=steps,
        log_every=log_every,
        evaluate_every=evaluate_every,
        save_every=save_every,
        keep_last=keep_last,
        best=best,
    )
    alone = open_session() if session is None else contextlib.nullcontext(session)
    with alone as session:
        loop = Loop(run, schedule, train_step, batches, rng, evaluate, title, session)
        return loop.train(state)
