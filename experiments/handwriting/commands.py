"""The commands of `python -m experiments.handwriting`, as dataclasses with `run`."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from experiments.cli.commands import (
    RunOptions,
    TrainOptions,
    command,
    print_status,
    run_command,
    train_command,
)
from experiments.handwriting.config import Config
from experiments.handwriting.configs import CONFIGS

_Texts = tyro.conf.Positional[
    Annotated[tuple[str, ...], tyro.conf.arg(name="text", metavar="[TEXT ...]")]
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRun(TrainOptions, Config):
    """A config, and the options of this session."""

    def run(self) -> None:
        """Trains, or resumes training."""
        from experiments.handwriting.task import HandwritingTask
        from experiments.training.trainer import train

        self.train(
            Config,
            partial(train, HandwritingTask),
            then="python -m experiments.handwriting evaluate",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Evaluates a run on held-out lines: nats per line and per point, beside an
    untrained network and a density that is the same for every point; the squared error
    of the mean offset; and where the window stands.

    Nats are of offsets with a deviation of 1, as in the paper; the table says what a
    point costs more in the units of the data. Writes evaluation.json into the run's
    folder.
    """

    splits: tuple[str, ...] = ("validation",)
    """Names of the splits to evaluate."""
    raw_dir: Path | None = None
    """Folder of the raw data, if they have moved since training."""

    def run(self) -> None:
        """Evaluates and prints a table."""
        from experiments.handwriting.evaluation import evaluate, print_report
        from experiments.handwriting.loading import load_run

        loaded = load_run(self.run_folder, self.checkpoint)
        print_report(
            evaluate(loaded, splits=self.splits, raw_dir=self.raw_dir, say=print_status)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Write(RunOptions):
    """Writes texts by hand, each on a line of its own.

    Draws the lines, and beneath each where the window stood in the text, as PNG and as
    SVG. Saves the strokes as JSON too, which --prime takes: the next texts then
    continue in that hand.
    """

    text: _Texts = ()
    """Texts to write, each in quotes; none for a network that predicts without a
    text."""
    out: Path = Path("line.svg")
    """Name of the picture: .svg or .png; both are written, and .json."""
    bias: float = 0.0
    """How much tidier than the training lines; 0 is as they are, 1 is much tidier."""
    seed: int = 0
    """Seed of the writing."""
    samples: int = 1
    """Number of times that each text is written, each time differently."""
    prime: Path | None = None
    """File of one line whose hand is continued: JSON of this command, or XML of
    IAM-OnDB."""
    prime_text: str | None = None
    """What the line of --prime says. None: its JSON file has it, or the network
    predicts without a text."""
    max_points: int = 2000
    """Most pen points of a line."""
    animate: bool = False
    """Also make an SVG in which the pen writes, to open in a browser."""

    def run(self) -> None:
        """Writes the texts."""
        from experiments.errors import UserError
        from experiments.handwriting.loading import load_run
        from experiments.handwriting.prime import read_prime
        from experiments.handwriting.writing import (
            check_out,
            save_pictures,
            write_lines,
        )

        check_out(self.out)
        if self.samples < 1:
            raise UserError(f"samples: expected at least 1, got {self.samples}")
        if self.prime is None and self.prime_text is not None:
            raise UserError("prime_text: expected none without --prime")
        loaded = load_run(self.run_folder, self.checkpoint)
        with_text = loaded.model.alphabet is not None
        prime = self.prime and read_prime(
            self.prime, self.prime_text, with_text=with_text
        )
        texts = self.text
        if not texts and with_text:
            raise UserError("text: expected a text to write, got none")
        written = write_lines(
            loaded,
            [text for text in texts or ("",) for _ in range(self.samples)],
            seed=self.seed,
            bias=self.bias,
            prime=prime or None,
            max_points=self.max_points,
        )
        for one in written:
            if not one.finished and with_text:
                print_status(
                    f"{one.line.text!r}: cut off after {self.max_points} points (raise "
                    "--max-points, or the bias)"
                )
        save_pictures(written, self.out, animate=self.animate)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; an invalid argument ends it with code 2."""
    run_command(
        train_command(TrainRun, CONFIGS)
        | command("evaluate", Evaluate)
        | command("write", Write),
        prog="python -m experiments.handwriting",
        description="Predict handwriting, and write texts by hand.",
        arguments=arguments,
    )
