"""Draws how runs learned, beside what was published: `algorithms curves`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from attnjax import viz
from experiments.algorithms.config import Config
from experiments.algorithms.evaluation import validation_set
from experiments.algorithms.sequences import (
    Algorithm,
    DynamicNGrams,
    PrioritySort,
)
from experiments.cli.outputs import check_file
from experiments.errors import UserError
from experiments.runs.folder import Run

METRIC = "validation/bits_per_sequence"
# Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), read off figures 13 and 18 at the
# end of training; of N-grams, bits above the optimal estimator. The other tasks end
# near 0 for every Neural Turing Machine.
PUBLISHED: dict[type[Algorithm], dict[str, float]] = {
    DynamicNGrams: {"LSTM, published": 3, "NTM, published": 0.7, "optimum": 0},
    PrioritySort: {
        "LSTM, published": 58,
        "NTM-FF, published": 20,
        "NTM-LSTM, published": 18,
    },
}


def draw_curves(
    folders: Sequence[Path],
    path: Path,
    *,
    limits: tuple[float, float] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Draws the validation cost of runs of one task against the sequences seen.

    Args:
      folders: of the runs; their names become those of the curves, or their paths
        where two have one name.
      path: of the picture, .png or .svg.
      limits: ends of the vertical axis, in bits; None begins at 0.
      say: reports what is being done.

    Raises:
      UserError: if there is no run, runs are of different tasks, or one was never
        validated; if the picture has another suffix or cannot be written.
    """
    check_file("out", path)
    runs = [Run.open(folder) for folder in folders]
    if not runs:
        raise UserError("runs: expected at least one folder of a run, got none")
    first, *others = [run.config_as(Config) for run in runs]
    task = type(first.algorithm).__name__
    for run, other in zip(runs[1:], others, strict=True):
        got = type(other.algorithm).__name__
        if got != task:
            raise UserError(
                f"{run.folder}: expected a run of {task}, as the first one, got {got} "
                "(draw each task by itself)"
            )
    try:
        viz.curve_plot(
            dict(zip(_names(runs), map(_points, runs), strict=True)),
            path,
            x_label="sequences seen",
            y_label="bits per sequence",
            levels=_levels(first),
            y_limits=limits,
            title=task,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    say(f"{path}")


def _names(runs: Sequence[Run]) -> list[str]:
    names = [run.folder.name for run in runs]
    alike = len(set(names)) < len(names)
    return [str(run.folder) for run in runs] if alike else names


def _levels(config: Config) -> dict[str, float]:
    """The published values of a task, on the validation set of a run."""
    levels = PUBLISHED.get(type(config.algorithm), {})
    if not isinstance(config.algorithm, DynamicNGrams):
        return levels
    sequences = validation_set(config.algorithm, config.validation_size)
    optimum = float(config.algorithm.optimal_bits(sequences).mean())
    return {name: optimum + above for name, above in levels.items()}


def _points(run: Run) -> tuple[list[float], list[float]]:
    """Sequences seen, and bits per sequence, of each validation of a run."""
    lines = [x for x in run.metrics() if METRIC in x and "sequences" in x]
    if not lines:
        raise UserError(
            f"{run.folder}: expected a run that was validated, got none (it stopped "
            "before its first validation, or has eval_every 0)"
        )
    return [line["sequences"] for line in lines], [line[METRIC] for line in lines]
