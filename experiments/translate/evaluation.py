"""Scoring a run on test sets: `python -m experiments.translate evaluate`.

RUN/evaluation.json              every score, with sacrebleu's signatures
RUN/pictures/bleu_by_length.png  BLEU against the length of the source
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.cli.counter import Counter
from experiments.datasets.pairs.evaluation_batches import evaluation_batches
from experiments.datasets.pairs.tokenized import tokenize_pairs
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.training.config import count_parameters
from experiments.translate.alignments import word_weights
from experiments.translate.data import Splits, bleu_tokenizer, read_splits, relocate
from experiments.translate.loading import Loaded
from experiments.translate.report import ENSEMBLE_PICTURE, PICTURE, draw_lengths
from experiments.translate.scores import length_ranges, score_alignments, score_corpus
from experiments.translate.shapes import shapes_for
from experiments.translate.translator import Translator

RECORD, ENSEMBLE_RECORD = "evaluation.json", "ensemble.json"


class Evaluation:
    """A run, and splits to score it on."""

    def __init__(
        self, loaded: Loaded, translator: Translator, splits: Splits, tokenizer: str
    ) -> None:
        """Encodes the splits and chooses what they share: shapes and lengths.

        Args:
          loaded: the run.
          translator: how it translates.
          splits: name to pairs.
          tokenizer: sacrebleu's.

        Raises:
          UserError: if a source is longer than the limit.
        """
        self.loaded, self.translator, self.splits = loaded, translator, splits
        self.tokenizer = tokenizer
        for name, pairs in splits.items():
            try:
                translator.encode([pair.source for pair in pairs])
            except UserError as error:
                raise UserError(f"{name}: {error}") from error
        everything = [pair for pairs in splits.values() for pair in pairs]
        self.ranges = length_ranges(everything)
        self.encoded = {
            name: tokenize_pairs(pairs, *loaded.system.tokenizers)
            for name, pairs in splits.items()
        }
        self.shapes = shapes_for(loaded, list(self.encoded.values()))

    def score(self, split: str) -> dict[str, Any]:
        """Translates a split and scores it."""
        pairs, params = self.splits[split], self.loaded.params
        with Counter(f"translating {split}", len(pairs)) as counter:
            found = self.translator.translate(
                params, [pair.source for pair in pairs], progress=counter.add
            )
        texts = [best[0].text if best else "" for best in found]
        corpus = score_corpus(
            pairs, texts, bleu_tokenizer=self.tokenizer, ranges=self.ranges
        )
        batches = evaluation_batches(self.encoded[split], self.shapes)
        nats = self.translator.nats_per_token(params, batches)
        return {
            "pairs": len(pairs),
            "perplexity": math.exp(nats),
            **corpus._asdict(),
            "by_length": [bucket._asdict() for bucket in corpus.by_length],
            **self._alignment(split),
        }

    def _alignment(self, split: str) -> dict[str, float]:
        """AER of the weights with which the references are written, where gold is."""
        gold = [i for i, pair in enumerate(self.splits[split]) if pair.alignment]
        if not gold:
            return {}
        tokenizers, encoded = self.loaded.system.tokenizers, self.encoded[split]
        examples = [encoded[i] for i in gold]
        batches = evaluation_batches(examples, self.shapes)
        words: list[np.ndarray] = [np.empty(0)] * len(gold)
        for n, weights in self.translator.align(self.loaded.params, batches):
            sides = zip(tokenizers, examples[n], strict=True)
            words[n] = word_weights(weights, *sides)
        score = score_alignments(words, [self.splits[split][i] for i in gold])
        return {"aer": score.aer, "precision": score.precision, "recall": score.recall}


def evaluate(
    loaded: Loaded,
    translator: Translator,
    *,
    splits: Sequence[str] = (),
    raw_dir: Path | None = None,
    tokenizer: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Scores a run, and writes evaluation.json and the picture into its folder.

    An ensemble is written under names of its own, into the folder of the first run.

    Args:
      loaded: the run.
      translator: how it translates.
      splits: which; by default all but the training data.
      raw_dir: where the raw data are, if not where the config says.
      tokenizer: sacrebleu's; by default what suits the data.
      say: told what is being done.

    Returns:
      What evaluation.json holds.

    Raises:
      UserError: if a split is unknown, the data are at fault, or a source is longer
        than the limit.
    """
    say("reading data")
    data = relocate(loaded.config.data, raw_dir)
    tokenizer = tokenizer or bleu_tokenizer(data)
    work = Evaluation(loaded, translator, read_splits(data, splits), tokenizer)
    scores = {}
    for name, pairs in work.splits.items():
        say(f"translating {name}: {len(pairs)} sentences")
        scores[name] = work.score(name)
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "search": dataclasses.asdict(translator.search),
        "splits": scores,
    }
    folder, name, picture = loaded.run.folder, RECORD, PICTURE
    if loaded.members:
        record["members"] = [str(member) for member in loaded.members]
        name, picture = ENSEMBLE_RECORD, ENSEMBLE_PICTURE
    draw_lengths(scores, work.ranges, folder / picture)
    write_atomic(folder / name, json.dumps(record, indent=2) + "\n")
    return record
