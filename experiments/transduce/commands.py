"""The commands of `python -m experiments.transduce`, as dataclasses with `run`."""

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.cli.commands import (
    RunOptions,
    TrainOptions,
    command,
    print_status,
    run_command,
    train_command,
)
from experiments.transduce.config import Config, SearchConfig
from experiments.transduce.configs import CONFIGS


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRun(TrainOptions, Config):
    """A config, and the options of this session."""

    def run(self) -> None:
        """Trains, or resumes training."""
        from experiments.training.trainer import train
        from experiments.transduce.task import make_task

        self.train(
            Config,
            partial(train, make_task),
            then="python -m experiments.transduce evaluate",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions(RunOptions):
    """Settings of decoding; None takes the setting of the run's config."""

    beam_size: int | None = None
    """Number of hypotheses that beam search keeps; 1 is greedy search, which CTC always
    has."""
    max_per_frame: int | None = None
    """Most labels that greedy search of a transducer emits at one input position."""

    def search(self, config: SearchConfig) -> SearchConfig:
        """Returns the run's settings with those that are given.

        Raises:
          UserError: if one is out of range.
        """
        from experiments.cli.checks import check_numbers

        given = {"beam_size": self.beam_size, "max_per_frame": self.max_per_frame}
        changed: dict[str, Any] = {k: x for k, x in given.items() if x is not None}
        made = dataclasses.replace(config, **changed)
        check_numbers(made)
        return made


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(SearchOptions):
    """Evaluates a run on held-out words or sounds: error rates, in per cent.

    A word is right (WER) if it is one of its readings; phone errors (PER) are the edits
    to the nearest one, over the summed lengths. A word with a letter that no training
    word has counts as wrong, with no phones. Of sounds these are the rates of sentences
    (SER) and of words (WER). Writes evaluation.json into the run's folder.
    """

    splits: tuple[str, ...] | None = None
    """Names of the splits to evaluate. None: all but that of training."""
    raw_dir: Path | None = None
    """Folder of the raw data, if they have moved since training."""

    def run(self) -> None:
        """Evaluates and prints a table."""
        from experiments.transduce.evaluation import evaluate, print_report
        from experiments.transduce.loading import load_run

        loaded = load_run(self.run_folder, self.checkpoint)
        record = evaluate(
            loaded,
            self.search(loaded.config.search),
            splits=self.splits,
            raw_dir=self.raw_dir,
            say=print_status,
        )
        print_report(record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode(SearchOptions):
    """Reads words of stdin, one a line, and prints their phones, one line for each.

    A run of spoken digits reads names of WAV files instead, and prints their words. An
    empty line gives an empty line. All input is checked before the first line of
    output.
    """

    n_best: int = 1
    """Number of readings per line; above 1, each is a line of input, labels and
    log-probability in nats, with tabs between them. CTC has one reading only."""
    paths: bool = False
    """Show with each phone the number of the letter at which it comes out, from 1: on
    the most probable path of a transducer, exactly; by the largest weight of RNNSearch.
    The end of the word counts as one more letter. Of sounds, show the second at which
    that vector ends."""

    def run(self) -> None:
        """Decodes stdin."""
        from experiments.errors import UserError
        from experiments.transduce.decoding import decode_stream
        from experiments.transduce.loading import load_run
        from experiments.transduce.sounds import batch_reader

        if self.n_best < 1:
            raise UserError(f"n_best: expected at least 1, got {self.n_best}")
        loaded = load_run(self.run_folder, self.checkpoint)
        search = self.search(loaded.config.search).fit(
            loaded.config.model,
            loaded.model.alphabets.target.vocab_size,
            n_best=self.n_best,
        )
        if sys.stdin is None:
            raise UserError("stdin: expected lines, got a closed stream")
        if sys.stdin.isatty():
            print_status(
                "reading lines from the keyboard, to the end of input (Ctrl-D)"
            )
        for line in decode_stream(
            loaded,
            batch_reader(loaded.config.data, loaded.model, search, loaded.mesh),
            sys.stdin.buffer,
            n_best=self.n_best,
            paths=self.paths,
        ):
            sys.stdout.buffer.write(f"{line}\n".encode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; an invalid argument ends it with code 2."""
    run_command(
        train_command(TrainRun, CONFIGS)
        | command("evaluate", Evaluate)
        | command("decode", Decode),
        prog="python -m experiments.transduce",
        description="Read words and spoken digits: transducers and RNNSearch.",
        arguments=arguments,
    )
