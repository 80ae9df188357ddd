"""The commands of `python -m experiments.translate`, as dataclasses with `run`."""

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro

from experiments.cli.commands import (
    RunOptions,
    RunOrPretrainedOptions,
    TrainOptions,
    command,
    print_status,
    run_command,
    train_command,
)
from experiments.errors import UserError
from experiments.translate.align_command import Align
from experiments.translate.config import Config
from experiments.translate.configs import CONFIGS
from experiments.translate.rescore_command import Rescore
from experiments.translate.vectors_command import Vectors


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRun(TrainOptions, Config):
    """A config, and the options of this session."""

    def run(self) -> None:
        """Trains, or resumes training."""
        from experiments.training.trainer import train
        from experiments.translate.task import TranslationTask

        self.train(
            Config,
            partial(train, TranslationTask),
            then="python -m experiments.translate evaluate",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(RunOptions):
    """The runs and checkpoints to load."""

    ensemble: tuple[Path, ...] = ()
    """Further runs of the same architecture; their predictions are averaged with those
    of the first at every token."""
    combine: Literal["log-linear", "linear"] = "log-linear"
    """Mean that an ensemble takes of probabilities: geometric (log-linear) or
    arithmetic (linear)."""
    max_source_length: int | None = None
    """Longest source in tokens; None takes the limit of the run's config."""

    def load(self) -> Any:
        """Loads the run, or the ensemble."""
        from experiments.translate.loading import load_ensemble

        return load_ensemble(
            [self.run_folder, *self.ensemble], self.checkpoint, combine=self.combine
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions(ModelOptions):
    """Settings of beam search; None takes the setting of the run's config."""

    beam_size: int | None = None
    """Number of hypotheses that beam search keeps; 1 is greedy search."""
    length_penalty: float | None = None
    """Exponent alpha of the length penalty (GNMT); 0 favours short hypotheses."""
    coverage_penalty: float | None = None
    """Weight beta of the coverage penalty (GNMT); above 0 it favours hypotheses that
    attend to all of the source."""
    no_repeat_ngram_size: int | None = None
    """Size of n-grams that may occur only once in a hypothesis; 0 allows
    repetition."""
    suppress_unk: bool = False
    """Never generate UNK."""
    replace_unk: bool = False
    """Replace each UNK by the source word with the largest attention weight. The
    weights are of the row, the layer and the heads that guided alignment trained; by
    default they are those with which the search predicted the UNK."""
    dictionary: Path | None = None
    """File of lines "source word, tab, target word"; UNK is replaced by the target
    word, or by the source word if it is not in the file."""

    def build_translator(self, loaded: Any) -> Any:
        """Builds the translator of a loaded run."""
        return loaded.build_translator(
            max_source_length=self.max_source_length,
            dictionary=self.dictionary,
            beam_size=self.beam_size,
            length_penalty=self.length_penalty,
            coverage_penalty=self.coverage_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
            suppress_unk=self.suppress_unk or None,
            replace_unk=self.replace_unk or None,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(SearchOptions):
    """Evaluates a run on test sets: BLEU and chrF, also by length, and AER.

    Prints tables, and writes evaluation.json and pictures/bleu_by_length.png into the
    run's folder; an ensemble writes ensemble.json and
    pictures/ensemble_by_length.png. AER needs gold alignments in the data, and is that
    of the links that `align` makes by default.
    """

    splits: tuple[str, ...] = ()
    """Names of the splits to evaluate; by default all but the training data."""
    raw_dir: Path | None = None
    """Folder of the raw data, if they have moved since training."""
    bleu_tokenizer: Literal["13a", "intl", "zh", "char", "none"] | None = None
    """Name of sacrebleu's tokeniser; by default 13a for text, and none for the
    embedded phrases."""

    def run(self) -> None:
        """Evaluates and prints tables."""
        from experiments.translate.evaluation import evaluate
        from experiments.translate.report import print_report

        loaded = self.load()
        record = evaluate(
            loaded,
            self.build_translator(loaded),
            splits=self.splits,
            raw_dir=self.raw_dir,
            tokenizer=self.bleu_tokenizer,
            say=print_status,
        )
        print_report(record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode(RunOrPretrainedOptions, SearchOptions):
    """Translates stdin to stdout, one line of output for every line of input.

    An empty line gives an empty line. All input is checked before the first line of
    output. The input has the form of the training text: raw for SentencePiece,
    tokenised for whole words, and for the embedded phrases tokens separated by blanks
    ("3 : 3 0 PM"), which the output has too. A pretrained model takes raw text, and
    beam size and n-gram blocking from its generation_config.json; the length penalty is
    GNMT's, as of a run.
    """

    n_best: int = 1
    """Number of hypotheses per line; above 1, each is printed as
    "line number from 0 ||| text ||| score", and a word ||| as Moses escapes it,
    &#124;&#124;&#124;."""
    alignments: Path | None = None
    """File for word alignments in Pharaoh format, source-target: 0-0 1-2 ... The
    weights are those that --replace-unk takes."""
    plot: Path | None = None
    """New or empty folder for a picture of each line's alignment, by the same
    weights."""

    def load(self) -> Any:
        """Loads the run, the ensemble, or the pretrained model."""
        from experiments.runs.pretrained import check_source
        from experiments.translate.pretrained import load_pretrained

        check_source(self.run_folder, self.pretrained, self.checkpoint)
        if self.pretrained is None:
            return super().load()
        return load_pretrained(self.pretrained, ensemble=self.ensemble)

    def run(self) -> None:
        """Decodes stdin."""
        from experiments.translate.decoding import check_outputs, decode_stream

        check_outputs(self.alignments, self.plot)
        loaded = self.load()
        translator = self.build_translator(loaded)
        if sys.stdin is None:
            raise UserError("stdin: expected lines of text, got a closed stream")
        if sys.stdin.isatty():
            print_status(
                "reading sentences from the keyboard, to the end of input (Ctrl-D)"
            )
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
class Score(ModelOptions):
    """Prints the log-probability of given translations, one line for every pair.

    Log-probabilities are in nats and include EOS.
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Two line-aligned files, source and target, or one file with tab-separated
    columns; gzip is recognised."""
    source_column: int = 1
    """Column of the source in a tab-separated file, counted from 1."""
    target_column: int | None = None
    """Column of the target in a tab-separated file; None is the second, or the first
    if the source is in the second."""
    per_token: bool = False
    """Divide each log-probability by the number of tokens, EOS included."""
    pieces: bool = False
    """Append a tab and every token with its log-probability."""

    def run(self) -> None:
        """Scores the pairs."""
        from experiments.datasets.text_files import Columns
        from experiments.translate.scoring import score_files

        columns = Columns.of(self.source_column, self.target_column)
        loaded = self.load()
        translator = loaded.build_translator(max_source_length=self.max_source_length)
        for line in score_files(
            translator,
            loaded,
            self.files,
            columns=columns,
            per_token=self.per_token,
            pieces=self.pieces,
        ):
            # UTF-8 in every locale, as the files and what `decode` writes.
            sys.stdout.buffer.write(f"{line}\n".encode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; an invalid argument ends it with code 2."""
    run_command(
        train_command(TrainRun, CONFIGS)
        | command("evaluate", Evaluate)
        | command("decode", Decode)
        | command("score", Score)
        | command("rescore", Rescore)
        | command("align", Align)
        | command("vectors", Vectors),
        prog="python -m experiments.translate",
        description="Train, evaluate and use translation models.",
        arguments=arguments,
    )
