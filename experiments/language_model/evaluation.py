"""Evaluates a run on whole texts: `python -m experiments.language_model evaluate`.

RUN/evaluation.json     every metric
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import jax
from jax.sharding import Mesh

from attnjax.models.lstm_lm import LSTMLMConfig
from attnjax.train import Params
from experiments.cli.progress_bar import ProgressBar
from experiments.cli.tables import print_table
from experiments.datasets.data_dir import with_raw_dir
from experiments.datasets.text.token_files import read_tokens
from experiments.datasets.text.windows import consecutive_windows
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.language_model.loading import LoadedRun
from experiments.language_model.model import LanguageModel, check_context
from experiments.language_model.stream_evaluation import StreamEvaluator
from experiments.language_model.text_metrics import EvaluationText, TextMetrics
from experiments.runs.processes import place_batch
from experiments.training.parameters import count_parameters

RECORD = "evaluation.json"


class Evaluator:
    """Evaluates parameters on texts, every token once, on all devices."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        rows: int,
        mesh: Mesh,
        context_tokens: int | None = None,
    ) -> None:
        """Jits the loss.

        Args:
          model: the model and its tokeniser.
          rows: windows per batch, rounded up to a multiple of the devices.
          mesh: the devices.
          context_tokens: number of tokens that every token has before it, but for
            those of the first window; None: as in training.

        Raises:
          UserError: if windows have no more tokens than that.
        """
        if context_tokens is None:
            context_tokens = model.context_tokens
        check_context(context_tokens, model.config.max_length)
        self.context_tokens = context_tokens
        self._rows = -(-rows // mesh.size) * mesh.size
        self._length = model.config.max_length
        self._mesh = mesh
        self._loss = jax.jit(model.loss)

    @property
    def settings(self) -> dict[str, Any]:
        """What the record of an evaluation says about it."""
        return {"context_tokens": self.context_tokens}

    def __call__(
        self,
        params: Params,
        text: EvaluationText,
        progress: Callable[[int], None] = lambda count: None,
    ) -> TextMetrics:
        """Computes the loss over consecutive windows of model.max_length tokens.

        The first token is predicted from a newline, the first token of every other
        window from the one token before it and the context.

        Args:
          params: the model's parameters.
          text: the text.
          progress: called after every batch with the number of its tokens.
        """
        windows = consecutive_windows(
            text.tokens,
            first=text.first,
            rows=self._rows,
            length=self._length,
            context_tokens=self.context_tokens,
        )
        total = count = 0.0
        for batch in windows:
            ids, context = place_batch(batch, self._mesh)
            loss = self._loss(params, ids, context_tokens=context)
            total += float(loss.total)
            count += float(loss.num_tokens)
            progress(int(loss.num_tokens))
        return text.metrics(total / count)


def evaluate(
    loaded: LoadedRun,
    *,
    texts: Sequence[Path] = (),
    raw_dir: Path | None = None,
    context_tokens: int | None = None,
    columns: int | None = None,
    dynamic_learning_rate: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluates a run, and writes evaluation.json into its folder.

    Args:
      loaded: the run.
      texts: files to evaluate on, read as the run's data set reads its own; by default
        all splits but the training text.
      raw_dir: where the raw data are, if not where the config says.
      context_tokens: number of tokens at the start of every window that are not
        predicted; None: as in training.
      columns: number of parts that a model with a state reads side by side; None: 1.
      dynamic_learning_rate: also evaluates such a model while it learns from the text,
        by gradient descent of this rate; None: does not.
      say: reports what is being done.

    Returns:
      The content of evaluation.json.

    Raises:
      UserError: if a text is missing or cannot be encoded, all tokens of a window are
        context, or the model does not take an option.
    """
    output = loaded.run.output(RECORD)
    evaluators = make_evaluators(
        loaded,
        context_tokens=context_tokens,
        columns=columns,
        dynamic_learning_rate=dynamic_learning_rate,
    )
    say("reading text")
    model, config = loaded.model, loaded.config
    why = "this run's text is no data set in a folder; name files with --text"
    data = with_raw_dir(config.data, None if texts else raw_dir, why)
    chosen = {str(path): data.read_as(path) for path in texts}
    if not chosen:
        chosen = data.splits()
        del chosen["train"]
    encoded = {
        name: EvaluationText(
            model.tokenizer,
            read_tokens(text, model.tokenizer, name=name, data_dir=data.data_dir),
        )
        for name, text in chosen.items()
    }
    results = {}
    for name, text in encoded.items():
        for label, evaluator in evaluators.items():
            say(f"evaluating {name}{label}: {len(text.tokens):,} tokens")
            with ProgressBar(f"evaluating {name}", len(text.tokens)) as counter:
                result = evaluator(loaded.params, text, counter.advance)
            results[name + label] = result._asdict() | result.metrics
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "context": model.config.max_length,
        **evaluators[""].settings,
        "texts": results,
    }
    write_atomic(output, json.dumps(record, indent=2) + "\n")
    return record


def make_evaluators(
    loaded: LoadedRun,
    *,
    context_tokens: int | None = None,
    columns: int | None = None,
    dynamic_learning_rate: float | None = None,
) -> dict[str, Any]:
    """Makes what scores the texts: under "", and dynamically under " (dynamic)".

    Raises:
      UserError: if the model does not take an option, or a number is out of range.
    """
    model, mesh = loaded.model, loaded.mesh
    if not isinstance(model.config, LSTMLMConfig):
        for name, value in (
            ("columns", columns),
            ("dynamic_learning_rate", dynamic_learning_rate),
        ):
            if value is not None:
                raise UserError(
                    f"{name}: expected none, got {value} (this model has no state that "
                    "it could carry)"
                )
        rows = loaded.config.batch_size // loaded.config.accumulation_steps
        return {
            "": Evaluator(model, rows=rows, mesh=mesh, context_tokens=context_tokens)
        }
    if context_tokens is not None:
        raise UserError(
            f"context_tokens: expected none, got {context_tokens} (this model carries "
            "its state over the whole text)"
        )
    columns = 1 if columns is None else columns
    found = {"": StreamEvaluator(model, columns=columns, mesh=mesh)}
    if dynamic_learning_rate is not None:
        found[" (dynamic)"] = StreamEvaluator(
            model,
            columns=columns,
            mesh=mesh,
            dynamic_learning_rate=dynamic_learning_rate,
        )
    return found


def print_report(record: dict[str, Any], file: TextIO | None = None) -> None:
    """Prints an evaluation as a table.

    Args:
      record: what `evaluate` returned.
      file: where to print; stdout if None.
    """
    names = (
        *("perplexity", "bits_per_character", "bits_per_byte", "perplexity_per_word"),
    )
    print_table(
        ["text", "tokens", "unknown", "nats per token", *_spaced(names)],
        [
            [
                name,
                f"{score['tokens']:,}",
                f"{score['unknown']:,}",
                f"{score['loss']:.4f}",
                *(f"{score[n]:.4f}" if n in score else "" for n in names),
            ]
            for name, score in record["texts"].items()
        ],
        title=f"step {record['step']}, {record['parameters']:,} parameters, "
        f"context {record['context']}",
        file=file,
    )


def _spaced(names: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]
