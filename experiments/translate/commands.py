"""The commands of `python -m experiments.translate`, as dataclasses with `run`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from experiments.commands import (
    RunOptions,
    TrainOptions,
    command,
    run_command,
    say,
    train_command,
)
from experiments.translate.config import Config
from experiments.translate.configs import CONFIGS


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRun(TrainOptions, Config):
    """A config, and what only this start of it needs to know."""

    def run(self) -> None:
        """Trains, or goes on training."""
        from experiments.translate.training import train

        self.train(Config, train, then="python -m experiments.translate evaluate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions(RunOptions):
    """Which parameters of a run, and how to search."""

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
class Evaluate(SearchOptions):
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
class Decode(SearchOptions):
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end it with code 2."""
    run_command(
        train_command(TrainRun, CONFIGS)
        | command("evaluate", Evaluate)
        | command("decode", Decode),
        prog="python -m experiments.translate",
        description="Train, evaluate and use translation models.",
        arguments=arguments,
    )
