"""The training loop: steps, and what is due between them. Called by `fit`."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import jax

from attnjax.parallel import is_main_process
from attnjax.train import Batch, Params, TrainState, TrainStep
from experiments.cli.progress import duration
from experiments.errors import UserError
from experiments.runs.folder import Run
from experiments.runs.manifest import describe_versions
from experiments.runs.metrics_log import MetricsLog, is_evaluated
from experiments.runs.processes import from_main, largest, on_main
from experiments.runs.selection import best_so_far
from experiments.training.interrupts import Interrupted
from experiments.training.metrics import MetricsAccumulator
from experiments.training.schedule import Schedule
from experiments.training.session import Session


class Loop:
    """One session of training a run; `fit` documents the arguments."""

    def __init__(
        self,
        run: Run,
        schedule: Schedule,
        *,
        train_step: TrainStep,
        batches: Callable[[int], Iterator[Batch]],
        rng: jax.Array,
        evaluate: Callable[[Params], Mapping[str, float]] | None,
        samples: Callable[[Params], Iterable[str]] | None,
        title: str,
        num_shapes: int | None,
        unit: str,
        session: Session,
    ) -> None:
        self.run, self.schedule = run, schedule
        self.train_step, self.batches, self.rng = train_step, batches, rng
        self.evaluate, self.samples = evaluate, samples
        self.title = title or run.folder.name
        self.screen, self.stop = session
        self.unit = unit
        self.meter = MetricsAccumulator(unit=unit)
        # A line of the log that waits for the metrics of its evaluation.
        self.unevaluated: dict[str, Any] | None = None
        self.saved_log: dict[str, Any] = {}  # number of its lines, and checksum
        # Step and metrics that the device may still be computing.
        self.in_flight: tuple[int, Mapping[str, jax.Array]] | None = None
        self.shapes_seen: set[Any] = set()
        self.num_shapes = num_shapes

    def run_training(self, state: TrainState) -> TrainState:
        """Restores the newest checkpoint, then takes the remaining steps."""
        with contextlib.ExitStack() as stack:
            notices = self._lock(stack)
            self.run.checkpoints.delete_incomplete()
            state, restored = self._restore(state)
            start = int(state.step)
            if start < self.schedule.steps:
                self.run.checkpoints.check_room(state)
            self.log = None
            if is_main_process():
                log = MetricsLog(self.run.folder, step=start, **self.saved_log)
                self.log = stack.enter_context(log)
                notices += log.notices
            self.reporter = self.screen.reporter(
                self.title, step=start, steps=self.schedule.steps, unit=self.unit
            )
            for notice in [*notices, *restored]:
                self.reporter.print(notice)
            self._finish_evaluation(state)
            if start:  # a kill may have come between a save and this
                self._prune()
            state = self._take_steps(state, start)
            self._say_done(start)
        return state

    def _lock(self, stack: contextlib.ExitStack) -> list[str]:
        """Locks the folder in the main process; returns what the user must know."""
        held = [True]

        def enter() -> None:
            held[0] = stack.enter_context(self.run.lock())

        on_main(enter)
        if held[0]:
            return []
        return [
            f"{self.run.folder}: the file system offers no locks, so nothing keeps a "
            f"second process from training in this folder"
        ]

    def _restore(self, state: TrainState) -> tuple[TrainState, list[str]]:
        """Restores the newest undamaged checkpoint, if there is any."""
        found: tuple[int, list[str]] = (0, [])

        def find() -> None:
            nonlocal found
            found = self.run.newest_intact_step()

        on_main(find)
        step, notices = from_main(found[0]), found[1]
        if step == 0:
            return state, notices
        self.run.check_config(step)
        state = self.run.checkpoints.restore(step, state)
        manifest = self.run.checkpoints.manifest(step)
        self.meter = MetricsAccumulator(unit=self.unit, **manifest["metrics"])
        self.unevaluated = manifest["line"]
        if "num_lines" in manifest and "log_checksum" in manifest:
            lines, checksum = manifest["num_lines"], manifest["log_checksum"]
            self.saved_log = {"num_lines": lines, "checksum": checksum}
        notices += describe_versions(manifest)
        return state, [*notices, f"resuming at step {step} of {self.schedule.steps}"]

    def _finish_evaluation(self, state: TrainState) -> None:
        """Repeats the evaluation that the last session was stopped in, if any."""
        if self.unevaluated is None:
            return
        recorded = self.log is not None and any(
            line["step"] == self.unevaluated["step"] for line in self.log.lines
        )
        evaluated = is_evaluated(self.unevaluated)
        if evaluated and not recorded and self.log is not None:
            self.log.write(self.unevaluated)
        if from_main(recorded or evaluated):
            self.unevaluated = None
        else:
            self._evaluate_and_log(state)

    def _take_steps(self, state: TrainState, start: int) -> TrainState:
        batches = iter(self.batches(start)) if start < self.schedule.steps else iter(())
        self.meter.start()
        for step in range(start + 1, self.schedule.steps + 1):
            state, metrics = self._dispatch(step, state, batches)
            # Of the step before: the device computes this one meanwhile.
            self._fetch_metrics()
            self.in_flight = step, metrics
            stop = self._stop_number(step)
            if self.schedule.should_save(step) or stop:
                self._fetch_metrics()
                self._save(state)
                if self.schedule.should_evaluate(step) and not stop:
                    self._evaluate_and_log(state)
                self._prune()
                self.meter.start()
            if stop:
                self._exit(step, stop)
        return state

    def _dispatch(
        self, step: int, state: TrainState, batches: Iterator[Batch]
    ) -> tuple[TrainState, Mapping[str, jax.Array]]:
        try:
            batch = next(batches)
        except StopIteration:
            raise ValueError(
                f"batches: expected batches up to step {self.schedule.steps}, got none "
                f"for step {step} (repeat epochs without end)"
            ) from None
        shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(batch))
        new = shapes not in self.shapes_seen
        if new:
            self.shapes_seen.add(shapes)
            self.reporter.phase(self._compiling())
        called = time.monotonic()
        state, metrics = self.train_step(state, batch, self.rng)
        if new:
            self.meter.exclude(time.monotonic() - called)
            self.reporter.phase("training")
        return state, metrics

    def _compiling(self) -> str:
        """Says which of the shapes is being compiled, if there may be several."""
        count = len(self.shapes_seen)
        if max(count, self.num_shapes or 1) == 1:
            return "compiling"
        return f"compiling, shape {count} of {self.num_shapes or 'several'}"

    def _fetch_metrics(self) -> None:
        """Waits for the step in flight and adds up its metrics."""
        if self.in_flight is None:
            return
        step, metrics = self.in_flight
        self.in_flight = None
        self.meter.add({name: float(x) for name, x in metrics.items()})
        self._check_finite(step)
        loss, rate, seconds = self.meter.progress()
        self.reporter.update(step, loss, rate, seconds * (self.schedule.steps - step))
        if self.schedule.should_log(step) or self.schedule.should_evaluate(step):
            line = self.meter.summarize(step)
            if self.schedule.should_evaluate(step) and self.evaluate is not None:
                self.unevaluated = line
            elif self.log is not None:
                self.log.write(line)

    def _check_finite(self, step: int) -> None:
        if self.meter.is_finite():
            return
        steps = self.run.checkpoints.steps()
        kept = f"step {steps[-1]} is saved" if steps else "nothing was saved yet"
        raise UserError(
            f"loss: expected finite numbers, got a loss or a gradient that is not at "
            f"step {step} ({kept}; a lower learning rate, gradient clipping or "
            f"skip_nonfinite may help)"
        )

    def _save(self, state: TrainState) -> None:
        self.reporter.phase("saving")
        notes = {
            "config": self.run.immutable_fields(),
            "metrics": self.meter.state(),
            "line": self.unevaluated,
            "best": self.schedule.best,
            "best_step": self._best(),
            "keep_last": self.schedule.keep_last,
            "num_lines": 0 if self.log is None else len(self.log.lines),
            "log_checksum": None if self.log is None else self.log.checksum,
            "run_files": self.run.files,
        }
        self.run.checkpoints.save(state, notes)
        self.reporter.phase("training")

    def _evaluate_and_log(self, state: TrainState) -> None:
        """Evaluates, and writes the line of the log that waited for it."""
        line, self.unevaluated = self.unevaluated, None
        if line is None:
            return
        params = state.params if state.ema is None else state.ema
        results, samples = self._evaluate(params, line["step"])
        line |= {f"validation/{name}": x for name, x in results.items()}
        if self.log is not None:
            best = self._best(line)
            self.run.checkpoints.amend(line["step"], line=line, best_step=best)
            self.log.write(line)
            marked = " (best so far)" if best == line["step"] else ""
            figures = "  ".join(f"{name} {x:.4g}" for name, x in results.items())
            self.reporter.print(f"step {line['step']}  {figures}{marked}")
            for sample in samples:
                self.reporter.print(f"  {sample}")

    def _evaluate(
        self, params: Params, step: int
    ) -> tuple[dict[str, float], list[str]]:
        """Computes the metrics of parameters, and samples to show beside them."""
        if self.evaluate is None:
            return {}, []
        self.reporter.phase("evaluating")
        try:
            # With several processes, those left would wait for it in a collective.
            with self.stop.interruptible(jax.process_count() == 1):
                results = {k: float(v) for k, v in self.evaluate(params).items()}
                samples = [] if self.samples is None else list(self.samples(params))
        except Interrupted:
            self._exit(step, self.stop.number)
        if self.schedule.best[0] not in results:
            raise ValueError(
                f"best: expected one of {', '.join(results)} (what evaluate returns), "
                f"got {self.schedule.best[0]!r}"
            )
        self.reporter.phase("training")
        return results, samples

    def _best(self, *more: Mapping[str, Any]) -> int | None:
        """The best step of the checkpoints and of more lines, in the main process."""
        if self.log is None:
            return None
        checkpoints, lines = self.run.checkpoints, self.log.lines
        return best_so_far(checkpoints, lines, self.schedule.best, *more)

    def _prune(self) -> None:
        best = self._best()
        last = self.run.checkpoints.steps()[-self.schedule.keep_last :]
        self.run.checkpoints.delete_except({*last, *([] if best is None else [best])})

    def _stop_number(self, step: int) -> int:
        """Agrees with all processes on the signal to stop for; 0 for none."""
        if jax.process_count() > 1 and step % self.schedule.log_every:
            return 0
        return largest(self.stop.number)

    def _exit(self, step: int, number: int) -> NoReturn:
        self.reporter.print(
            f"stopped at step {step} of {self.schedule.steps}, saved in "
            f"{self.run.folder}: run the same command with --resume to continue"
        )
        raise SystemExit(128 + number)

    def _say_done(self, start: int) -> None:
        done = f"{self.title}: {self.schedule.steps} steps"
        if start >= self.schedule.steps:
            self.reporter.print(f"{done} were done already")
        else:
            self.reporter.print(f"{done} in {duration(self.meter.time())}")
