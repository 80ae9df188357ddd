"""The commands of `python -m experiments.translate`, as dataclasses with `run`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro

from attnjax.parallel import start_distributed
from experiments.errors import UserError
from experiments.translate.config import Config
from experiments.translate.configs import CONFIGS
from experiments.translate.training import train


def say(text: str) -> None:
    """Tells the user what is going on; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """Several processes for one run; each is started with the same command."""

    coordinator: str | None = None
    """Address host:port of process 0."""
    num_processes: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Which of them this is, from 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRun(Config):
    """A config, and what only this start of it needs to know."""

    out: Path | None = None
    """Folder of the run, new (default: runs/CONFIG)."""
    resume: bool = False
    """Go on with the run in the folder, to the same bits as if never stopped."""
    processes: ProcessConfig = ProcessConfig()
    """Several processes for one run."""
    name: tyro.conf.Suppress[str] = ""

    def run(self) -> None:
        """Trains, or goes on training."""
        start_distributed(**dataclasses.asdict(self.processes))
        folder = Path("runs") / self.name if self.out is None else self.out
        names = [field.name for field in dataclasses.fields(Config)]
        config = Config(**{name: getattr(self, name) for name in names})
        train(config, folder, resume=self.resume, say=say)
        say(f"next: python -m experiments.translate evaluate {folder}")


def _train_run(name: str, description: str, config: Config) -> Any:
    """The subcommand of a named config."""
    settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return Annotated[
        TrainRun,
        tyro.conf.subcommand(
            name,
            default=TrainRun(**settings, name=name),
            description=description,
            prefix_name=False,
        ),
    ]


_RUNS = tuple(_train_run(name, *entry) for name, entry in CONFIGS.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Trains one of the configs; every setting of it can be changed by a flag."""

    config: Annotated[Union[_RUNS], tyro.conf.arg(name="", help="The configs.")]  # type: ignore[valid-type]  # noqa: UP007

    def run(self) -> None:
        """Trains the chosen config."""
        self.config.run()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which parameters of a run, and how to search."""

    run_folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(name="run")]]
    """Folder of the run."""
    checkpoint: Literal["best", "last"] = "best"
    """The checkpoint with the best validation BLEU, or the last one."""
    beam_size: int | None = None
    """Hypotheses followed at a time (default: the run's)."""
    length_penalty: float | None = None
    """GNMT's alpha (default: the run's)."""
    source_limit: int | None = None
    """Longest source in ids (default: the run's)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Scores a run on test sets: BLEU, chrF, by length, and AER where gold exists."""

    splits: tuple[str, ...] = ()
    """Which splits (default: all but the training data)."""
    raw_dir: Path | None = None
    """Where the raw data are now, if not where they were at training."""

    def run(self) -> None:
        """Evaluates and prints a table."""
        from experiments.translate.evaluation import evaluate

        evaluate(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode(RunOptions):
    """Translates stdin to stdout, a line for every line."""

    n_best: int = 1
    """Hypotheses a line; above 1 each is printed as `line ||| text ||| score`."""
    alignments: Path | None = None
    """File for word alignments of the best hypotheses, Pharaoh format."""
    plot: Path | None = None
    """Folder for a picture of each sentence's alignment."""

    def run(self) -> None:
        """Decodes stdin."""
        from experiments.translate.decoding import decode_stream

        decode_stream(self, sys.stdin.buffer, sys.stdout)


Command = (
    Annotated[Train, tyro.conf.subcommand("train", prefix_name=False)]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate", prefix_name=False)]
    | Annotated[Decode, tyro.conf.subcommand("decode", prefix_name=False)]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end it with code 2."""
    command: Any = tyro.cli(
        Command,  # type: ignore[arg-type]
        prog="python -m experiments.translate",
        description="Train, evaluate and use translation models.",
        args=arguments,
    )
    try:
        command.run()
    except (UserError, ValueError) as error:
        if isinstance(error, ValueError) and not isinstance(error, UserError):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
