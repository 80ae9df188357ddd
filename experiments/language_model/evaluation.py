"""Measuring a run on whole texts: `python -m experiments.language_model evaluate`.

RUN/evaluation.json     every figure
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
from experiments.cli.counter import Counter
from experiments.cli.tables import print_table
from experiments.datasets.text.datasets import Text
from experiments.datasets.text.token_files import read_tokens
from experiments.datasets.text.windows import consecutive_crops
from experiments.datasets.tokenizers.text import TextTokenizer
from experiments.files import write_atomic
from experiments.language_model.loading import Loaded
from experiments.language_model.system import System
from experiments.runs.processes import place_batch
from experiments.training.config import count_parameters

RECORD = "evaluation.json"


class Measured:
    """A text to measure by: its tokens, and how much text they stand for."""

    def __init__(self, tokenizer: TextTokenizer, tokens: np.ndarray) -> None:
        """Counts; the text is what the ids stand for, so blanks that are lost are not.

        Args:
          tokenizer: that made the ids.
          tokens: ids, shape [N].
        """
        text = tokenizer.decode(tokens.tolist())
        self.tokens, self.first = tokens, tokenizer.newline
        self.characters, self.bytes = len(text), len(text.encode())
        none = tokenizer.unknown is None
        self.unknown = 0 if none else int((tokens == tokenizer.unknown).sum())


class Score(NamedTuple):
    """What a model makes of a text."""

    tokens: int  # all of them
    unknown: int  # those that stand for what has no id
    characters: int
    bytes: int
    loss: float  # nats a token

    @property
    def figures(self) -> dict[str, float]:
        """The loss in nats a token, and in the other units that papers give.

        Where there are unknown tokens, bits a character or a byte would claim to know
        what they are: these figures are left out.
        """
        figures = {"loss": self.loss, "perplexity": math.exp(self.loss)}
        if self.unknown:
            return figures
        bits = self.loss * self.tokens / math.log(2)
        return figures | {
            "bits_per_character": bits / self.characters,
            "bits_per_byte": bits / self.bytes,
        }


class Measure:
    """Measures parameters by texts: every token of them once, on all devices."""

    def __init__(self, system: System, *, rows: int, mesh: Mesh) -> None:
        """Prepares to measure.

        Args:
          system: the model and its tokeniser.
          rows: crops at a time, rounded up to a multiple of the devices.
          mesh: the devices.
        """
        self._rows = -(-rows // mesh.size) * mesh.size
        self._length = system.config.max_length
        self._mesh = mesh
        self._loss = jax.jit(system.loss)

    def __call__(
        self,
        params: Params,
        text: Measured,
        progress: Callable[[int], None] = lambda count: None,
    ) -> Score:
        """Reads a text in crops that do not overlap, each of the whole context.

        The first token is predicted from a newline, and the first of each other crop
        from the one token before it.

        Args:
          params: of the system.
          text: what to measure by.
          progress: told, after every batch, how many more tokens are done.
        """
        crops = consecutive_crops(
            text.tokens, first=text.first, rows=self._rows, length=self._length
        )
        total = count = 0.0
        for batch in crops:
            loss = self._loss(params, place_batch(batch, self._mesh))
            total += float(loss.total)
            count += float(loss.num_tokens)
            progress(int(loss.num_tokens))
        return Score(
            tokens=int(count),
            unknown=text.unknown,
            characters=text.characters,
            bytes=text.bytes,
            loss=total / count,
        )


def evaluate(
    loaded: Loaded,
    *,
    texts: Sequence[Path] = (),
    raw_dir: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measures a run, and writes evaluation.json into its folder.

    Args:
      loaded: the run.
      texts: files to measure by; by default all splits but the training text.
      raw_dir: where the raw data are, if not where the config says.
      say: told what is being done.

    Returns:
      What evaluation.json holds.

    Raises:
      UserError: if a text is missing or cannot be encoded.
    """
    say("reading text")
    system, config = loaded.system, loaded.config
    chosen = {str(path): Text((path,)) for path in texts}
    if not chosen:
        chosen = loaded.splits(raw_dir)
        del chosen["train"]
    encoded = {
        name: Measured(
            system.tokenizer,
            read_tokens(
                text, system.tokenizer, name=name, data_dir=config.data.data_dir
            ),
        )
        for name, text in chosen.items()
    }
    measure = Measure(
        system, rows=config.batch_rows // config.accumulate, mesh=loaded.mesh
    )
    scores = {}
    for name, text in encoded.items():
        say(f"measuring {name}: {len(text.tokens):,} tokens")
        with Counter(f"measuring {name}", len(text.tokens)) as counter:
            score = measure(loaded.params, text, counter.add)
        scores[name] = score._asdict() | score.figures
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "context": system.config.max_length,
        "texts": scores,
    }
    write_atomic(loaded.run.folder / RECORD, json.dumps(record, indent=2) + "\n")
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
