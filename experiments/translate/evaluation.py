"""Scoring a run on test sets: `python -m experiments.translate evaluate`.

RUN/evaluation.json              every score, with sacrebleu's signatures
RUN/pictures/bleu_by_length.png  BLEU against the length of the source
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.cli.progress_bar import ProgressBar
from experiments.datasets.pairs.evaluation_batches import evaluation_batches
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.training.metrics import perplexity
from experiments.training.parameters import count_parameters
from experiments.translate.aligning import align_batches
from experiments.translate.alignments import Extraction
from experiments.translate.batch_shapes import evaluation_shapes
from experiments.translate.data import Splits, bleu_tokenizer, read_splits, relocate
from experiments.translate.loading import LoadedRun
from experiments.translate.model import Ensemble
from experiments.translate.report import ENSEMBLE_PICTURE, PICTURE, draw_lengths
from experiments.translate.scores import length_ranges, score_alignments, score_corpus
from experiments.translate.translator import Translator

RECORD, ENSEMBLE_RECORD = "evaluation.json", "ensemble.json"


class Evaluator:
    """Scores a run on splits of a data set."""

    def __init__(
        self, loaded: LoadedRun, translator: Translator, splits: Splits, tokenizer: str
    ) -> None:
        """Tokenises the splits, and chooses their common batch shapes and lengths.

        Args:
          loaded: the run.
          translator: translates with it.
          splits: maps names to sentence pairs.
          tokenizer: name of sacrebleu's tokeniser.

        Raises:
          UserError: if a source is longer than the limit.
        """
        self.loaded, self.translator, self.splits = loaded, translator, splits
        self.tokenizer = tokenizer
        self.encoded = {}
        for name, pairs in splits.items():
            try:
                self.encoded[name] = translator.tokenize_pairs(pairs)
            except UserError as error:
                raise UserError(f"{name}: {error}") from error
        everything = [pair for pairs in splits.values() for pair in pairs]
        self.ranges = length_ranges(everything)
        self.shapes = evaluation_shapes(
            list(self.encoded.values()),
            batch_tokens=loaded.config.batch_tokens,
            devices=loaded.mesh.size,
        )

    def evaluate(self, split: str) -> dict[str, Any]:
        """Translates a split and scores it."""
        pairs, params = self.splits[split], self.loaded.params
        with ProgressBar(f"translating {split}", len(pairs)) as counter:
            found = self.translator.translate(
                params,
                [pair.source for pair in pairs],
                encoded=self.encoded[split].sources,
                progress=counter.advance,
            )
        texts = [best[0].text if best else "" for best in found]
        corpus = score_corpus(
            pairs, texts, bleu_tokenizer=self.tokenizer, ranges=self.ranges
        )
        batches = evaluation_batches(self.encoded[split], self.shapes)
        nats = self.translator.nats_per_token(params, batches)
        return {
            "pairs": len(pairs),
            "perplexity": perplexity(nats),
            **corpus._asdict(),
            "by_length": [bucket._asdict() for bucket in corpus.by_length],
            **self._alignment(split),
        }

    def _alignment(self, split: str) -> dict[str, float]:
        """AER of the references' attention weights, where there are gold links.

        The weights are those that `align` takes by default.
        """
        gold = [i for i, pair in enumerate(self.splits[split]) if pair.alignment]
        if not gold:
            return {}
        examples = [self.encoded[split][i] for i in gold]
        batches = evaluation_batches(examples, self.shapes)
        how = Extraction().of_run(self.loaded.config)
        params = self.loaded.params
        words = align_batches(self.translator, params, examples, batches, how)
        pairs = [self.splits[split][i] for i in gold]
        score = score_alignments(words, pairs, link=how.links)
        return {"aer": score.aer, "precision": score.precision, "recall": score.recall}


def evaluate(
    loaded: LoadedRun,
    translator: Translator,
    *,
    splits: Sequence[str] = (),
    raw_dir: Path | None = None,
    tokenizer: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Scores a run, and writes evaluation.json and the picture into its folder.

    An ensemble has other file names, in the folder of its first run.

    Args:
      loaded: the run.
      translator: translates with it.
      splits: names of splits; by default all but the training data.
      raw_dir: where the raw data are, if not where the config says.
      tokenizer: name of sacrebleu's tokeniser; by default the one for the data.
      say: reports what is being done.

    Returns:
      The content of evaluation.json.

    Raises:
      UserError: if a split is unknown, the data are invalid, or a source is longer
        than the limit.
    """
    name, picture = RECORD, PICTURE
    if loaded.members:
        name, picture = ENSEMBLE_RECORD, ENSEMBLE_PICTURE
    output, drawing = loaded.run.output(name), loaded.run.output(picture)
    say("reading data")
    data = relocate(loaded.config.data, raw_dir)
    tokenizer = tokenizer or bleu_tokenizer(data)
    evaluator = Evaluator(loaded, translator, read_splits(data, splits), tokenizer)
    scores = {}
    for name, pairs in evaluator.splits.items():
        say(f"translating {name}: {len(pairs)} sentences")
        scores[name] = evaluator.evaluate(name)
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "search": dataclasses.asdict(translator.search),
        "splits": scores,
    }
    if isinstance(loaded.model, Ensemble):
        record["combine"] = loaded.model.combine
    if loaded.members:
        record["members"] = [str(member) for member in loaded.members]
    draw_lengths(scores, evaluator.ranges, drawing)
    write_atomic(output, json.dumps(record, indent=2) + "\n")
    return record
