"""How likely given translations are: `python -m experiments.translate score`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.datasets.pairs.evaluation_batches import evaluation_batches
from experiments.datasets.pairs.tokenized import tokenize_pairs
from experiments.datasets.text_files import read_pairs
from experiments.datasets.tokenizers.sentences import EOS
from experiments.translate.loading import Loaded
from experiments.translate.shapes import shapes_for
from experiments.translate.translator import Translator


def score_files(
    translator: Translator,
    loaded: Loaded,
    files: Sequence[Path],
    *,
    per_token: bool = False,
    pieces: bool = False,
) -> Iterator[str]:
    """Scores the pairs of one or two files.

    All is read and checked before the first line comes.

    Args:
      translator: of the system.
      loaded: the run.
      files: two line-aligned ones, or one of tab-separated columns.
      per_token: give means over tokens, EOS among them, instead of sums.
      pieces: after each, tab, the tokens as `piece:log-probability`.

    Yields:
      A line for each pair, in nats.

    Raises:
      UserError: if the files are at fault, or a sentence is too long.
    """
    pairs = list(read_pairs(files, remedy="fix the files"))
    translator.encode([source for source, _ in pairs])
    encoded = tokenize_pairs(pairs, *loaded.system.tokenizers)
    batches = evaluation_batches(encoded, shapes_for(loaded, [encoded]))
    gains: list[np.ndarray] = [np.empty(0)] * len(pairs)
    for index, found in translator.score(loaded.params, batches):
        gains[index] = found
    for example, found in zip(encoded, gains, strict=True):
        line = f"{found.mean() if per_token else found.sum():.4f}"
        if pieces:
            names = loaded.system.tokenizers.target.ids_to_tokens(
                [*example.target, EOS]
            )
            each = (f"{n}:{g:.4f}" for n, g in zip(names, found, strict=True))
            line += "\t" + " ".join(each)
        yield line
