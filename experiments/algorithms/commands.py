"""The commands of `python -m experiments.algorithms`, as dataclasses with `run`."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from experiments.algorithms.config import Config
from experiments.algorithms.configs import CONFIGS
from experiments.cli.commands import (
    RunFolders,
    RunOptions,
    TrainOptions,
    command,
    print_status,
    run_command,
    train_command,
)
from experiments.cli.compilation_cache import CompilationOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRun(TrainOptions, Config):
    """A config, and the options of this session."""

    def run(self) -> None:
        """Trains, or resumes training."""
        from experiments.algorithms.task import AlgorithmTask
        from experiments.training.trainer import train

        self.train(
            Config,
            partial(train, AlgorithmTask),
            then="python -m experiments.algorithms evaluate",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Evaluates a run on sequences as in training, and on harder ones: longer copies,
    more repeats, more items.

    Prints bits per sequence and wrong bits per sequence as a table, for N-grams beside
    the optimal estimator, and writes evaluation.json into the run's folder.
    """

    sequences: int = 1000
    """Number of sequences of each kind."""

    def run(self) -> None:
        """Evaluates and prints a table."""
        from experiments.algorithms.evaluation import evaluate, print_report
        from experiments.algorithms.loading import load_run

        loaded = load_run(self.run_folder, self.checkpoint)
        print_report(evaluate(loaded, sequences=self.sequences, say=print_status))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watch(RunOptions):
    """Draws what a run does with one long sequence: inputs, outputs, errors, what its
    heads write, read, and where, over time.

    Writes RUN/tape.png and RUN/tape.svg; for priority sort of a Neural Turing Machine
    also RUN/priorities.png and .svg, where each vector is written by its priority.
    Prints the sequence's targets and outputs as text.
    """

    seed: int = 0
    """Seed of the sequence."""
    out: Path | None = None
    """Folder of the pictures. None: that of the run."""

    def run(self) -> None:
        """Draws one sequence."""
        from experiments.algorithms.loading import load_run
        from experiments.algorithms.watching import watch

        loaded = load_run(self.run_folder, self.checkpoint)
        watch(loaded, seed=self.seed, out=self.out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curves(CompilationOptions):
    """Draws the learning curves of runs of one task, beside the published values.

    The cost is that of the validation set, in bits per sequence, against the number of
    sequences that were trained on.
    """

    run_folders: RunFolders
    """Folders of one or more runs."""
    out: Path = Path("curves.png")
    """File of the picture: PNG or SVG, by its suffix."""
    limits: tuple[float, float] | None = None
    """Ends of the vertical axis, in bits. None: from 0 to the highest point."""

    def run(self) -> None:
        """Draws the picture."""
        from experiments.algorithms.curves import draw_curves

        draw_curves(self.run_folders, self.out, limits=self.limits, say=print)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; an invalid argument ends it with code 2."""
    run_command(
        train_command(TrainRun, CONFIGS)
        | command("evaluate", Evaluate)
        | command("watch", Watch)
        | command("curves", Curves),
        prog="python -m experiments.algorithms",
        description="Learn algorithms from examples, test them on longer sequences, "
        "and watch the tape.",
        arguments=arguments,
    )
