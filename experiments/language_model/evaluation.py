"""Evaluates a run on whole texts: `python -m experiments.language_model evaluate`.

RUN/evaluation.json     every metric
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.train import Params
from experiments.cli.progress_bar import ProgressBar
from experiments.cli.tables import print_table
from experiments.datasets.data_dir import with_raw_dir
from experiments.datasets.text.datasets import Text
from experiments.datasets.text.token_files import read_tokens
from experiments.datasets.text.windows import consecutive_windows
from experiments.datasets.tokenizers.text import TextTokenizer
from experiments.files import write_atomic
from experiments.language_model.loading import LoadedRun
from experiments.language_model.model import LanguageModel, check_context
from experiments.runs.processes import place_batch
from experiments.training.metrics import perplexity
from experiments.training.parameters import count_parameters

RECORD = "evaluation.json"


class EvaluationText:
    """A tokenised text, with the number of characters and bytes that it encodes."""

    def __init__(self, tokenizer: TextTokenizer, tokens: np.ndarray) -> None:
        """Counts on the detokenised text, so blanks lost in tokenisation do not count.

        Args:
          tokenizer: the one that produced the ids.
          tokens: ids, shape [N].
        """
        text = tokenizer.detokenize(tokens.tolist())
        self.tokens, self.first = tokens, tokenizer.newline
        self.characters, self.bytes = len(text), len(text.encode())
        has_no_unk = tokenizer.unknown is None
        self.unknown = 0 if has_no_unk else int((tokens == tokenizer.unknown).sum())


class TextMetrics(NamedTuple):
    """A model's loss on a text."""

    tokens: int
    unknown: int  # tokens that are UNK
    characters: int
    bytes: int
    loss: float  # nats per token

    @property
    def metrics(self) -> dict[str, float]:
        """The loss in nats per token, and in the other units that papers use.

        Bits per character and per byte are left out if there are UNK tokens, whose
        characters the model does not predict.
        """
        metrics = {"loss": self.loss, "perplexity": perplexity(self.loss)}
        if self.unknown:
            return metrics
        bits = self.loss * self.tokens / math.log(2)
        return metrics | {
            "bits_per_character": bits / self.characters,
            "bits_per_byte": bits / self.bytes,
        }


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
        return TextMetrics(
            tokens=int(count),
            unknown=text.unknown,
            characters=text.characters,
            bytes=text.bytes,
            loss=total / count,
        )


def evaluate(
    loaded: LoadedRun,
    *,
    texts: Sequence[Path] = (),
    raw_dir: Path | None = None,
    context_tokens: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluates a run, and writes evaluation.json into its folder.

    Args:
      loaded: the run.
      texts: files to evaluate on; by default all splits but the training text.
      raw_dir: where the raw data are, if not where the config says.
      context_tokens: number of tokens at the start of every window that are not
        predicted; None: as in training.
      say: reports what is being done.

    Returns:
      The content of evaluation.json.

    Raises:
      UserError: if a text is missing or cannot be encoded, or all tokens of a window
        are context.
    """
    output = loaded.run.output(RECORD)
    say("reading text")
    model, config = loaded.model, loaded.config
    why = "this run's text is no data set in a folder; name files with --text"
    data = with_raw_dir(config.data, None if texts else raw_dir, why)
    chosen = {str(path): Text((path,)) for path in texts}
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
    evaluator = Evaluator(
        model,
        rows=config.batch_size // config.accumulation_steps,
        mesh=loaded.mesh,
        context_tokens=context_tokens,
    )
    results = {}
    for name, text in encoded.items():
        say(f"evaluating {name}: {len(text.tokens):,} tokens")
        with ProgressBar(f"evaluating {name}", len(text.tokens)) as counter:
            result = evaluator(loaded.params, text, counter.advance)
        results[name] = result._asdict() | result.metrics
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "context": model.config.max_length,
        "context_tokens": evaluator.context_tokens,
        "texts": results,
    }
    write_atomic(output, json.dumps(record, indent=2) + "\n")
    return record


def print_report(record: dict[str, Any], file: TextIO | None = None) -> None:
    """Prints an evaluation as a table.

    Args:
      record: what `evaluate` returned.
      file: where to print; stdout if None.
    """
    names = ("perplexity", "bits_per_character", "bits_per_byte")
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
