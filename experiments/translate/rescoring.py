"""Rescoring n-best lists of any system: `python -m experiments.translate rescore`.

Sutskever, Vinyals & Le 2014 (arXiv:1409.3215), section 3.8: a translation model scores
the 1,000 best hypotheses of a phrase-based system, and the mean of both scores ranks
them anew.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.text_files import read_lines, require_file
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.translate.loading import LoadedRun
from experiments.translate.nbest import (
    Entry,
    add_feature,
    best_texts,
    check_entries,
    format_entry,
    interpolate,
    read_nbest,
)
from experiments.translate.scoring import log_probs_of_pairs
from experiments.translate.translator import Translator


def read_lists(
    source: Path, nbest: Path, *, feature: str, weight: float | None = None
) -> tuple[list[str], list[Entry]]:
    """Reads the source sentences and their n-best lists.

    Args:
      source: file of sentences.
      nbest: file of the lists.
      feature: name of the feature that will be added.
      weight: its share of the new score, as of `write_rescored`.

    Raises:
      UserError: if a file is invalid, the lists do not match the sources, have such a
        feature, or lack a score that is needed.
    """
    sources = list(read_lines(require_file(source)))
    entries = read_nbest(nbest, sources=len(sources))
    check_entries(nbest, entries, feature=feature, weight=weight)
    return sources, entries


def score_entries(
    translator: Translator,
    loaded: LoadedRun,
    sources: Sequence[str],
    entries: Sequence[Entry],
) -> list[float]:
    """Computes the log-probability of every hypothesis, its EOS included, in nats.

    An empty hypothesis has that of EOS.

    Raises:
      UserError: if a sentence is too long.
    """
    try:
        encoded = translator.tokenize_sources(sources)
    except UserError as error:
        raise UserError(f"source: {error}") from error
    try:
        targets = translator.tokenize_pairs([("", e.text) for e in entries]).targets
    except UserError as error:
        raise UserError(f"nbest: {error}") from error
    pairs = TokenizedPairs(
        (encoded[entry.id] for entry in entries), (row.tolist() for row in targets)
    )
    log_probs = log_probs_of_pairs(translator, loaded, pairs)
    return [float(found.sum()) for found in log_probs]


def write_rescored(
    entries: Sequence[Entry],
    log_probs: Sequence[float],
    *,
    sources: int,
    feature: str,
    out: Path,
    weight: float | None = None,
    best_out: Path | None = None,
) -> None:
    """Writes the lists with their new feature, and the best hypotheses.

    Args:
      entries: the lists.
      log_probs: that of each hypothesis.
      sources: number of lines of the source.
      feature: name of the feature.
      out: file for the lists.
      weight: share of the log-probability in the new score, which sorts each list;
        None keeps scores and order.
      best_out: file for the first hypothesis of each list, one a line.
    """
    new = add_feature(entries, feature, log_probs)
    if weight is not None:
        new = interpolate(new, log_probs, weight)
    write_atomic(out, "".join(f"{format_entry(entry)}\n" for entry in new))
    if best_out is not None:
        texts = best_texts(new, sources=sources)
        write_atomic(best_out, "".join(f"{text}\n" for text in texts))
