"""The commands of `python -m experiments.translate`, as dataclasses with `run`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro

from attnjax.parallel import is_main_process, start_distributed
from experiments.entry import exit_codes, settings_at_fault
from experiments.translate.config import Config
from experiments.translate.configs import CONFIGS


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
    """Folder of the run, new or empty; None: runs/CONFIG."""
    resume: bool = False
    """Go on with the run in the folder, to the same bits; begin it if there is none."""
    processes: ProcessConfig = dataclasses.field(default_factory=ProcessConfig)
    """Several processes for one run."""
    name: tyro.conf.Suppress[str] = ""

    def run(self) -> None:
        """Trains, or goes on training."""
        from experiments.translate.training import train

        with settings_at_fault("processes"):
            start_distributed(**dataclasses.asdict(self.processes))
        tell = say if is_main_process() else lambda text: None
        folder = Path("runs") / self.name if self.out is None else self.out
        names = [field.name for field in dataclasses.fields(Config)]
        config = Config(**{name: getattr(self, name) for name in names})
        train(config, folder, resume=self.resume, say=tell)
        tell(f"next: python -m experiments.translate evaluate {folder}")


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
        run: TrainRun = self.config  # type: ignore[assignment]
        run.run()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which parameters of a run, and how to search."""

    run_folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(name="run")]]
    """Folder of the run."""
    checkpoint: Literal["best", "last"] = "best"
    """The checkpoint with the best validation BLEU, or the last one."""
    beam_size: int | None = None
    """Hypotheses followed at a time; None: as the run's config says."""
    length_penalty: float | None = None
    """GNMT's alpha; None: as the run's config says."""
    source_limit: int | None = None
    """Longest source in ids; None: as the run's config says."""

    def load(self) -> tuple[Any, Any]:
        """Loads the run, and makes its translator."""
        from experiments.translate.loading import load_run

        loaded = load_run(self.run_folder, self.checkpoint)
        translator = loaded.translator(
            beam_size=self.beam_size,
            length_penalty=self.length_penalty,
            source_limit=self.source_limit,
        )
        return loaded, translator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Scores a run on test sets: BLEU, chrF, by length, and AER where gold exists.

    Prints tables, and writes evaluation.json and pictures/bleu_by_length.png into the
    run's folder.
    """

    splits: tuple[str, ...] = ()
    """Which splits; none named: all but the training data."""
    raw_dir: Path | None = None
    """Where the raw data are now, if not where they were at training."""
    bleu_tokenizer: Literal["13a", "intl", "zh", "char", "none"] | None = None
    """sacrebleu's tokeniser; None: 13a for text, none for the embedded phrases."""

    def run(self) -> None:
        """Evaluates and prints tables."""
        from experiments.translate.evaluation import evaluate
        from experiments.translate.report import print_report

        record = evaluate(
            *self.load(),
            splits=self.splits,
            raw_dir=self.raw_dir,
            tokenizer=self.bleu_tokenizer,
            say=say,
        )
        print_report(record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode(RunOptions):
    """Translates stdin to stdout, a line out for every line in.

    An empty line gives an empty line. All input is checked before anything is
    written. Text goes in as the run was trained on it: raw for SentencePiece, tokenised
    for whole words, and for the embedded phrases the units that they are made of, with
    blanks between them ("3 : 3 0 PM"), which also come out.
    """

    n_best: int = 1
    """Hypotheses a line; above 1, each as "number ||| text ||| score" (from 0)."""
    alignments: Path | None = None
    """File for the links source word-written word, as in Pharaoh: 0-0 1-2 ..."""
    plot: Path | None = None
    """New folder for a picture of each line's alignment."""

    def run(self) -> None:
        """Decodes stdin."""
        from experiments.translate.decoding import check_outputs, decode_stream

        check_outputs(self.alignments, self.plot)
        loaded, translator = self.load()
        if sys.stdin.isatty():
            say("reading sentences from the keyboard, to the end of input (Ctrl-D)")
        decode_stream(
            translator,
            loaded.params,
            sys.stdin.buffer,
            sys.stdout.buffer,
            n_best=self.n_best,
            alignments=self.alignments,
            plot=self.plot,
        )


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
    with exit_codes():
        command.run()
