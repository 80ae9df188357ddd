"""The commands of `python -m experiments.translate`, as dataclasses with `run`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from experiments.cli.commands import (
    RunOptions,
    TrainOptions,
    command,
    print_status,
    run_command,
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
class SystemOptions(RunOptions):
    """Which parameters of which runs."""

    ensemble: tuple[Path, ...] = ()
    """Further runs of the same model, joined with the first at every word."""
    combine: Literal["log-linear", "linear"] = "log-linear"
    """How an ensemble joins probabilities: their geometric or arithmetic mean."""
    source_limit: int | None = None
    """Longest source in ids; None: as the run's config says."""

    def load(self) -> Any:
        """Loads the run, or the ensemble."""
        from experiments.translate.loading import load_ensemble

        return load_ensemble(
            [self.run_folder, *self.ensemble], self.checkpoint, combine=self.combine
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions(SystemOptions):
    """How to search. What is None, or not asked for, is as the run's config says."""

    beam_size: int | None = None
    """Hypotheses followed at a time."""
    length_penalty: float | None = None
    """GNMT's alpha."""
    coverage_penalty: float | None = None
    """GNMT's beta: above 0 favours hypotheses that read all of the source."""
    no_repeat_ngram_size: int | None = None
    """Never write so many tokens again in the same order; 0: allow it."""
    forbid_unk: bool = False
    """Never write UNK."""
    replace_unk: bool = False
    """Write for UNK the source word that it reads most."""
    dictionary: Path | None = None
    """File of source word, tab, target word: what to write for UNK instead of the
    source word."""

    def translator(self, loaded: Any) -> Any:
        """Makes the translator of what was loaded."""
        return loaded.translator(
            source_limit=self.source_limit,
            dictionary=self.dictionary,
            beam_size=self.beam_size,
            length_penalty=self.length_penalty,
            coverage_penalty=self.coverage_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
            forbid_unk=self.forbid_unk or None,
            replace_unk=self.replace_unk or None,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(SearchOptions):
    """Scores a run on test sets: BLEU, chrF, by length, and AER where gold exists.

    Prints tables, and writes evaluation.json and pictures/bleu_by_length.png into the
    run's folder; an ensemble's are ensemble.json and pictures/ensemble_by_length.png.
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

        loaded = self.load()
        record = evaluate(
            loaded,
            self.translator(loaded),
            splits=self.splits,
            raw_dir=self.raw_dir,
            tokenizer=self.bleu_tokenizer,
            say=print_status,
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
        loaded = self.load()
        translator = self.translator(loaded)
        if sys.stdin.isatty():
            print_status("reading sentences from the keyboard, to the end of input (Ctrl-D)")
        decode_stream(
            translator,
            loaded.params,
            sys.stdin.buffer,
            sys.stdout.buffer,
            n_best=self.n_best,
            alignments=self.alignments,
            plot=self.plot,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(SystemOptions):
    """Tells how likely given translations are, a line for every pair.

    A line is the log-probability of the translation, EOS included, in nats.
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Two line-aligned files, source and target, or one with tab-separated columns;
    gzipped or not."""
    per_token: bool = False
    """Divide by the number of tokens, EOS included."""
    pieces: bool = False
    """After it, tab, each token with its own log-probability."""

    def run(self) -> None:
        """Scores the pairs."""
        from experiments.translate.scoring import score_files

        loaded = self.load()
        translator = loaded.translator(source_limit=self.source_limit)
        for line in score_files(
            translator,
            loaded,
            self.files,
            per_token=self.per_token,
            pieces=self.pieces,
        ):
            print(line)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end it with code 2."""
    run_command(
        train_command(TrainRun, CONFIGS)
        | command("evaluate", Evaluate)
        | command("decode", Decode)
        | command("score", Score),
        prog="python -m experiments.translate",
        description="Train, evaluate and use translation models.",
        arguments=arguments,
    )
