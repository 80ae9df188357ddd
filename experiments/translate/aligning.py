"""Aligns given translations: `python -m experiments.translate align`.

A run is read with its target given (teacher forcing), and its attention weights become
links between the words of the text, that is, between what is separated by blanks.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

import numpy as np

from attnjax.align import (
    Alignment,
    AlignmentScore,
    alignment_error_rate,
    format_pharaoh,
    read_pharaoh,
    symmetrise,
    write_pharaoh,
)
from attnjax.train import Params
from experiments.cli.exit_codes import invalid_settings
from experiments.cli.tables import print_table
from experiments.datasets.pairs.evaluation_batches import EvaluationBatch
from experiments.datasets.text_files import read_pairs, require_file
from experiments.errors import UserError
from experiments.files import atomic_path
from experiments.translate.alignments import Extraction, check_words, flip
from experiments.translate.batch_shapes import batch_pairs
from experiments.translate.config import check_aligns
from experiments.translate.loading import LoadedRun
from experiments.translate.translator import Translator

Pairs = Sequence[tuple[str, str]]
Method = Literal[
    "intersection", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and"
]


class Aligned(NamedTuple):
    """The alignments of a text."""

    # Links (source, target) of every pair by name: "forward"; with a reverse run also
    # "reverse" and, last, the method that combines them.
    links: dict[str, list[Alignment]]
    weights: list[np.ndarray]  # of the run: [target words + 1, source words + 1]


def read_sides(source: Path, target: Path) -> list[tuple[str, str]]:
    """Reads two line-aligned files.

    Raises:
      UserError: if a file is missing or not UTF-8, the numbers of lines differ, or a
        line is empty.
    """
    return list(read_pairs([source, target], remedy="fix the files"))


def extract_weights(
    loaded: LoadedRun,
    pairs: Pairs,
    how: Extraction = Extraction(),  # noqa: B008  immutable
    *,
    max_source_length: int | None = None,
) -> list[np.ndarray]:
    """Computes the weights between the words of given translations.

    Args:
      loaded: a run, which translates in the direction of the pairs.
      pairs: source and target text.
      how: which weights.
      max_source_length: longest source in token ids; None is the run's limit.

    Returns:
      For each pair, weights [target words + 1, source words + 1], EOS last.

    Raises:
      UserError: if the model has no such weights, or a sentence is too long.
    """
    how = how.of_run(loaded.config)
    check_aligns(loaded.config.model, how.layer, how.heads)
    translator = loaded.build_translator(max_source_length=max_source_length)
    encoded = translator.tokenize_pairs(pairs)
    batches = batch_pairs(
        encoded,
        batch_tokens=loaded.config.batch_tokens,
        devices=loaded.mesh.size,
    )
    words = align_batches(translator, loaded.params, encoded, batches, how)
    for n, weights in enumerate(words):
        targets, sources = weights.shape
        check_words(n, "target", pairs[n][1], targets - 1)  # without EOS
        check_words(n, "source", pairs[n][0], sources - 1)
    return words


def align_batches(
    translator: Translator,
    params: Params,
    encoded: Sequence[Any],
    batches: Iterable[EvaluationBatch],
    how: Extraction,
) -> list[np.ndarray]:
    """Computes the weights between the words of batches of pairs.

    Args:
      translator: of the model.
      params: the model's parameters.
      encoded: source and target ids of each pair, without EOS.
      batches: the same pairs, each once.
      how: which weights.

    Returns:
      For each pair, weights [target words + 1, source words + 1], EOS last.
    """
    tokenizers = translator.model.tokenizers
    words: list[np.ndarray] = [np.empty(0)] * len(encoded)
    for n, weights in translator.align(
        params, batches, layer=how.layer, heads=how.heads
    ):
        words[n] = how.words(weights, *zip(tokenizers, encoded[n], strict=True))
    return words


def align_pairs(
    loaded: LoadedRun,
    pairs: Pairs,
    how: Extraction = Extraction(),  # noqa: B008  immutable
    *,
    reverse: LoadedRun | None = None,
    method: Method = "grow-diag-final-and",
    grow: Literal["either", "both"] = "either",
    max_source_length: int | None = None,
) -> Aligned:
    """Aligns the words of given translations.

    Args:
      loaded: a run, which translates in the direction of the pairs.
      pairs: source and target text.
      how: which weights, of both runs.
      reverse: a run of the opposite direction; None takes the links of one run.
      method: how the links of two runs are combined.
      grow: when "grow-diag" adds a link, as in `attnjax.align.symmetrise`.
      max_source_length: longest source in token ids; None is the run's limit.

    Returns:
      The links, and the weights of the first run.

    Raises:
      UserError: as `extract_weights`.
    """
    extract = partial(extract_weights, how=how, max_source_length=max_source_length)
    weights = extract(loaded, pairs)
    forward = list(map(how.links, weights))
    if reverse is None:
        return Aligned({"forward": forward}, weights)
    try:
        swapped = extract(reverse, [(target, source) for source, target in pairs])
    except UserError as error:
        raise UserError(f"reverse: {error}") from error
    backward = [flip(how.links(one)) for one in swapped]
    combined = [
        symmetrise(*both, method=method, grow=grow)
        for both in zip(forward, backward, strict=True)
    ]
    links = {"forward": forward, "reverse": backward, method: combined}
    return Aligned(links, weights)


def read_links(name: str, path: Path, pairs: Pairs) -> list[Alignment]:
    """Reads links between the words of pairs from a file in Pharaoh format.

    Raises:
      UserError: if there is no such file, or it does not fit the pairs.
    """
    require_file(path)
    lengths = [(len(source.split()), len(target.split())) for source, target in pairs]
    with invalid_settings(name):
        return read_pharaoh(path, lengths=lengths)


def score_links(
    found: Mapping[str, Sequence[Alignment]], gold: Sequence[Alignment]
) -> dict[str, AlignmentScore]:
    """Compares every set of links with gold links."""
    return {name: alignment_error_rate(links, gold) for name, links in found.items()}


def print_scores(
    scores: Mapping[str, AlignmentScore], file: TextIO | None = None
) -> None:
    """Prints AER, precision and recall of every set of links, as fractions."""
    print_table(
        ["links", "AER", "precision", "recall", "number"],
        [
            [name, *(f"{x:.3f}" for x in score[:3]), str(score.links)]
            for name, score in scores.items()
        ],
        file=file,
    )


def write_outputs(
    aligned: Aligned, out: Path | None = None, weights_out: Path | None = None
) -> None:
    """Writes the last links, to stdout without a file, and the weights; atomically."""
    links = list(aligned.links.values())[-1]
    if out is not None:
        write_pharaoh(out, links)
    else:
        for line in map(format_pharaoh, links):
            print(line)
    if weights_out is not None:
        arrays = {f"line_{n}": w for n, w in enumerate(aligned.weights, start=1)}
        with atomic_path(weights_out) as path, path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
