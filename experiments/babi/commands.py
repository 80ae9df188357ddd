"""The commands of `python -m experiments.babi`, as dataclasses with `run`."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from experiments.babi.config import Config
from experiments.babi.configs import CONFIGS
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
        from experiments.babi.task import QuestionTask
        from experiments.training.trainer import train

        self.train(
            Config,
            partial(train, QuestionTask),
            then="python -m experiments.babi evaluate",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(CompilationOptions):
    """Evaluates runs on all test questions: a table of tasks beside the paper's.

    Runs of different tasks are shown in one table. Of runs of the same tasks, with
    several seeds, the one with the lowest training error is shown, and every one is
    listed. Writes evaluation.json into each run's folder.
    """

    run_folders: RunFolders
    """Folders of one or more runs."""
    checkpoint: Literal["best", "last", "mean"] = "best"
    """Checkpoint to load: the best in validation, the last, or the mean of the
    parameters over the newest ones (the run's keep_last says how many)."""
    raw_dir: Path | None = None
    """Folder of the raw data, if they have moved since training."""

    def run(self) -> None:
        """Evaluates and prints a table."""
        from experiments.babi.evaluation import evaluate, print_report
        from experiments.babi.loading import load_run
        from experiments.errors import UserError

        if not self.run_folders:
            raise UserError("runs: expected at least one folder of a run, got none")
        records = []
        for folder in self.run_folders:
            print_status(f"{folder}")
            loaded = load_run(folder, self.checkpoint)
            records.append(evaluate(loaded, raw_dir=self.raw_dir, say=print_status))
        print_report(records)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask(RunOptions):
    """Answers questions about a story, and shows which facts each hop attended to.

    Reads lines from stdin or from files: facts, and questions that end with a question
    mark. An empty line begins another story.
    """

    story: tuple[Path, ...] = ()
    """Files to read in place of stdin, in the same form; numbered lines of bAbI too."""

    def run(self) -> None:
        """Answers on stdout."""
        from attnjax.parallel import make_mesh
        from experiments.babi.ask import Asker, answer_lines
        from experiments.babi.loading import load_run

        loaded = load_run(self.run_folder, self.checkpoint, mesh=make_mesh(1))
        answer_lines(Asker(loaded), self._lines(), say=print_status)

    def _lines(self) -> Iterator[str]:
        from experiments.datasets.text_files import (
            decode_lines,
            expand,
            read_lines,
            require_file,
        )

        for path in self.story:
            yield from read_lines(require_file(expand(path)))
            yield ""  # a file ends its last story
        if not self.story:
            if sys.stdin.isatty():
                print_status("type facts, then a question that ends with ?")
            yield from decode_lines(sys.stdin.buffer, "stdin")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; an invalid argument ends it with code 2."""
    run_command(
        train_command(TrainRun, CONFIGS)
        | command("evaluate", Evaluate)
        | command("ask", Ask),
        prog="python -m experiments.babi",
        description="Train memory networks, evaluate them, ask them.",
        arguments=arguments,
    )
