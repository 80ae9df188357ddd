"""Log-probabilities of given translations: `python -m experiments.translate score`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.text_files import FIRST_TWO, Columns, read_pairs
from experiments.datasets.tokenizers.sentences import EOS
from experiments.translate.batch_shapes import batch_pairs
from experiments.translate.loading import LoadedRun
from experiments.translate.translator import Translator


def score_files(
    translator: Translator,
    loaded: LoadedRun,
    files: Sequence[Path],
    *,
    columns: Columns = FIRST_TWO,
    per_token: bool = False,
    pieces: bool = False,
) -> Iterator[str]:
    """Scores the sentence pairs of one or two files.

    All input is checked before the first line is yielded.

    Args:
      translator: from `loaded.build_translator`.
      loaded: the run.
      files: two line-aligned ones, or one of tab-separated columns.
      columns: those of source and target in one file.
      per_token: yield means over tokens, EOS included, instead of sums.
      pieces: append a tab and the tokens, each as `piece:log-probability`.

    Yields:
      A line for each pair, in nats.

    Raises:
      UserError: if the files are invalid, or a sentence is too long.
    """
    pairs = list(read_pairs(files, columns=columns, remedy="fix the files"))
    encoded = translator.tokenize_pairs(pairs)
    log_probs = log_probs_of_pairs(translator, loaded, encoded)
    for example, found in zip(encoded, log_probs, strict=True):
        line = f"{found.mean() if per_token else found.sum():.4f}"
        if pieces:
            names = loaded.model.tokenizers.target.ids_to_tokens([*example.target, EOS])
            each = (f"{n}:{x:.4f}" for n, x in zip(names, found, strict=True))
            line += "\t" + " ".join(each)
        yield line


def log_probs_of_pairs(
    translator: Translator, loaded: LoadedRun, encoded: TokenizedPairs
) -> list[np.ndarray]:
    """Computes the log-probabilities of the target's tokens of each pair, EOS last."""
    batches = batch_pairs(
        encoded,
        batch_tokens=loaded.config.batch_tokens,
        devices=loaded.mesh.size,
    )
    log_probs: list[np.ndarray] = [np.empty(0)] * len(encoded)
    for index, found in translator.token_log_probs(loaded.params, batches):
        log_probs[index] = found
    return log_probs
