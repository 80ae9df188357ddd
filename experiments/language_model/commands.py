"""The commands of `python -m experiments.language_model`, as dataclasses with `run`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.commands import (
    RunOptions,
    TrainOptions,
    command,
    print_status,
    run_command,
    train_command,
)
from experiments.language_model.config import Config
from experiments.language_model.configs import CONFIGS


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRun(TrainOptions, Config):
    """A config, and what only this start of it needs to know."""

    def run(self) -> None:
        """Trains, or goes on training."""
        from experiments.language_model.training import train

        self.train(Config, train, then="python -m experiments.language_model sample")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Measures a run on whole texts: nats a token, perplexity, bits a character.

    The text is read in crops of the context's length that do not overlap, and every
    token is counted once. Prints a table, and writes evaluation.json into the run's
    folder.
    """

    text: tuple[Path, ...] = ()
    """Files to measure by, each apart; none: the splits the run does not learn from."""
    raw_dir: Path | None = None
    """Where the raw data are now, if not where they were at training."""

    def run(self) -> None:
        """Evaluates and prints a table."""
        from experiments.language_model.evaluation import evaluate, print_report
        from experiments.language_model.loading import load_run

        loaded = load_run(self.run_folder, self.checkpoint)
        record = evaluate(loaded, texts=self.text, raw_dir=self.raw_dir, say=print_status)
        print_report(record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(RunOptions):
    """Lets a run write; each token is shown when it is drawn.

    Of the probabilities at the temperature the top-k likeliest tokens are kept, of
    these the nucleus top-p, and of these what is above min-p. A text may become longer
    than the context: whenever that is full, the model reads its last half again, and
    goes on as if nothing stood before.
    """

    prompt: str = ""
    """What the text begins with; nothing: it begins after a newline."""
    tokens: int = 500
    """Tokens to draw."""
    samples: int = 1
    """Texts to draw, with a line of --- between two."""
    temperature: float = 1.0
    """Below 1 likely tokens become likelier, above 1 less likely."""
    top_k: int | None = None
    """How many of the likeliest tokens may be drawn; 1: always the likeliest."""
    top_p: float = 1.0
    """Probability that the tokens which may be drawn have together."""
    min_p: float = 0.0
    """Least share of the likeliest token's probability with which one may be drawn."""
    seed: int = 0
    """Of the draws."""

    def run(self) -> None:
        """Writes to stdout."""
        from attnjax.parallel import make_mesh
        from experiments.language_model.loading import load_run
        from experiments.language_model.sampling import Writer, write_samples

        loaded = load_run(self.run_folder, self.checkpoint, mesh=make_mesh(1))
        writer = Writer(
            loaded.system,
            loaded.params,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
        )
        write_samples(
            writer,
            sys.stdout.buffer,
            prompt=self.prompt,
            tokens=self.tokens,
            samples=self.samples,
            seed=self.seed,
            readable=sys.stdout.isatty(),
            say=print_status,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end it with code 2."""
    run_command(
        train_command(TrainRun, CONFIGS)
        | command("evaluate", Evaluate)
        | command("sample", Sample),
        prog="python -m experiments.language_model",
        description="Train language models, measure them, let them write.",
        arguments=arguments,
    )
