"""The commands of `python -m experiments.language_model`, as dataclasses with `run`."""

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.cli.commands import (
    RunOptions,
    RunOrPretrainedOptions,
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
    """A config, and the options of this session."""

    def run(self) -> None:
        """Trains, or resumes training."""
        from experiments.language_model.stream_task import make_task
        from experiments.training.trainer import train

        self.train(
            Config,
            partial(train, make_task),
            then="python -m experiments.language_model sample",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(RunOptions):
    """Evaluates a run on whole texts: nats per token, perplexity, bits per character.

    The text is divided into consecutive windows of model.max_length tokens, which
    overlap by --context-tokens; a model that carries a state (LSTM) reads it from end
    to end instead. Every token is predicted once. Prints a table, and writes
    evaluation.json into the run's folder.
    """

    text: tuple[Path, ...] = ()
    """Files to evaluate on, each separately, and read as the run's data set reads its
    own; by default all splits but the training data."""
    raw_dir: Path | None = None
    """Folder of the raw data, if they have moved since training."""
    context_tokens: int | None = None
    """Number of tokens at the start of every window that are context only; by default
    as in training. The more, the lower the perplexity, and the longer it takes."""
    columns: int | None = None
    """Number of parts of a text that a model with a state reads side by side, each from
    its first state; by default 1. More are faster, and the perplexity is higher."""
    dynamic_learning_rate: float | None = None
    """Learning rate of dynamic evaluation, of a model with a state: after each segment
    a step of gradient descent on its mean loss. Both scores are reported."""

    def run(self) -> None:
        """Evaluates and prints a table."""
        from experiments.language_model.evaluation import evaluate, print_report
        from experiments.language_model.loading import load_run

        loaded = load_run(self.run_folder, self.checkpoint)
        record = evaluate(
            loaded,
            texts=self.text,
            raw_dir=self.raw_dir,
            context_tokens=self.context_tokens,
            columns=self.columns,
            dynamic_learning_rate=self.dynamic_learning_rate,
            say=print_status,
        )
        print_report(record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(RunOrPretrainedOptions):
    """Samples text from a run or a pretrained model, streaming tokens.

    Logits are divided by the temperature; then top-k, top-p and min-p truncate them in
    this order. A text may exceed the model's max_length: whenever the KV cache is
    full, it is filled again from the last half of its tokens, and sampling continues.
    """

    prompt: str = ""
    """Text that the samples continue; by default they begin after a newline, those of
    a pretrained model after its BOS or EOS."""
    tokens: int = 500
    """Number of tokens to sample; a pretrained model may end before, at its EOS."""
    samples: int = 1
    """Number of samples; a line of --- separates them."""
    temperature: float = 1.0
    """Divisor of the logits; below 1 it favours likely tokens."""
    top_k: int | None = None
    """Number of likeliest tokens to sample from; 1 is greedy decoding."""
    top_p: float = 1.0
    """Total probability of the likeliest tokens to sample from (nucleus sampling)."""
    min_p: float = 0.0
    """Lowest probability to sample, as a share of that of the likeliest token."""
    seed: int = 0
    """Seed of the samples."""

    def run(self) -> None:
        """Samples to stdout."""
        from experiments.language_model.sampling import stream_samples

        stream_samples(
            self._load(),
            sys.stdout.buffer,
            prompt=self.prompt,
            tokens=self.tokens,
            samples=self.samples,
            seed=self.seed,
            escape_controls=sys.stdout.isatty(),
            say=print_status,
        )

    def _load(self) -> Any:
        """Loads the model, with the sampling options."""
        from attnjax.parallel import make_mesh
        from experiments.language_model.loading import load_run
        from experiments.language_model.pretrained import load_sampler
        from experiments.language_model.sampling import Sampler
        from experiments.runs.pretrained import check_source

        options: dict[str, Any] = {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p,
        }
        check_source(self.run_folder, self.pretrained, self.checkpoint)
        if self.pretrained is not None:
            return load_sampler(
                self.pretrained, prompt=self.prompt, tokens=self.tokens, **options
            )
        run: Any = self.run_folder
        loaded = load_run(run, self.checkpoint, mesh=make_mesh(1))
        return Sampler(loaded.model, loaded.params, **options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; an invalid argument ends it with code 2."""
    run_command(
        train_command(TrainRun, CONFIGS)
        | command("evaluate", Evaluate)
        | command("sample", Sample),
        prog="python -m experiments.language_model",
        description="Train language models, evaluate them, sample from them.",
        arguments=arguments,
    )
