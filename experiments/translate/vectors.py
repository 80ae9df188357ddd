"""Sentences as vectors: `python -m experiments.translate vectors`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.seq2seq import Seq2SeqConfig
from attnjax.train import Params
from experiments.datasets.pairs.evaluation_batches import source_batches
from experiments.datasets.text_files import read_lines, require_file
from experiments.datasets.tokenizers.sentences import PAD
from experiments.errors import UserError
from experiments.runs.processes import gather_rows, place_batch
from experiments.translate.config import ModelConfig
from experiments.translate.loading import LoadedRun


class Sentences(NamedTuple):
    """Sentences, and the group of each: blank lines divide groups."""

    texts: list[str]
    groups: list[int]


def read_sentences(path: Path) -> Sentences:
    """Reads sentences, one a line.

    Raises:
      UserError: if there are fewer than three.
    """
    texts: list[str] = []
    groups: list[int] = []
    group = 0
    for line in read_lines(require_file(path)):
        if line.strip():
            texts.append(line.strip())
            groups.append(group)
        elif groups and groups[-1] == group:
            group += 1
    if len(texts) < 3:
        raise UserError(
            f"{path}: expected three or more sentences to compare, got {len(texts)}"
        )
    return Sentences(texts, groups)


def check_has_vector(config: ModelConfig) -> None:
    """Checks that a model encodes a sentence as one vector.

    Raises:
      UserError: if it does not.
    """
    if not isinstance(config, Seq2SeqConfig | RNNEncoderDecoderConfig):
        raise UserError(
            "model: expected one that encodes a sentence as one vector, got "
            f"{type(config).__name__.removesuffix('Config')} (train Seq2Seq or the "
            "fixed vector)"
        )


def sentence_vectors(
    loaded: LoadedRun, sentences: Sequence[str], *, max_source_length: int | None = None
) -> np.ndarray:
    """Encodes sentences: Seq2Seq's final state, or the fixed vector.

    Args:
      loaded: the run.
      sentences: of the source language.
      max_source_length: longest source in tokens; None takes the run's limit.

    Returns:
      One vector for each sentence, [N, D].

    Raises:
      UserError: if the model has no such vector, or a sentence is too long.
    """
    check_has_vector(loaded.config.model)
    translator = loaded.build_translator(max_source_length=max_source_length)
    encoded = translator.tokenize_sources(sentences)

    @jax.jit
    def encode(params: Params, ids: jax.Array) -> jax.Array:
        model: Any = loaded.model.rebuild(params)
        return model.encode(ids, ids != PAD).vector

    vectors: list[np.ndarray] = [np.empty(0)] * len(encoded)
    for indices, ids in source_batches(encoded, row_multiple=loaded.mesh.size):
        found = gather_rows(encode(loaded.params, place_batch(ids, loaded.mesh)))
        for index, vector in zip(indices, found, strict=True):
            if index >= 0:
                vectors[index] = vector
    return np.stack(vectors)
