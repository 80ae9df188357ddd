"""Translation as a training task: sentence pairs, cross-entropy, greedy BLEU."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from attnjax.train import Batch, Loss, Params
from experiments.datasets.pairs.batching import pad_batch
from experiments.datasets.pairs.bucketing import assign_buckets
from experiments.datasets.pairs.datasets import fingerprint_pairs
from experiments.datasets.pairs.evaluation_batches import evaluation_batches
from experiments.datasets.pairs.tokenized import TokenizedPairs, tokenize_pairs
from experiments.datasets.tokenizers.sentences import PAD
from experiments.datasets.tokenizers.sides import Tokenizers
from experiments.errors import UserError
from experiments.training.task import Best, Task, TaskSetup
from experiments.translate.batch_shapes import check_positions, plan_batches
from experiments.translate.config import Config, SearchConfig
from experiments.translate.data import bleu_tokenizer, load_corpora
from experiments.translate.guided import Guidance
from experiments.translate.model import build_model
from experiments.translate.scores import score_corpus
from experiments.translate.translator import Translation, Translator

GREEDY = SearchConfig(beam_size=1, length_penalty=0.0)
SAMPLES = 2  # validation sentences that are shown after each evaluation


class TranslationTask(Task):
    """Trains a translation model on sentence pairs."""

    best: ClassVar[Best] = ("bleu", "max")

    def __init__(self, config: Config, setup: TaskSetup) -> None:
        """Reads and tokenises the data, and plans the batches; compiles nothing.

        Raises:
          UserError: if the data are invalid, or the settings do not fit the data or
            the devices.
        """
        self.config, self.unit = config, config.mean_over
        setup.say("reading data")
        self.corpora = load_corpora(config.data)
        if left_out := config.data.left_out:
            setup.say(f"left out: {left_out}")
        self.tokenizers = self._load_tokenizers(setup)
        self.model, self._params = build_model(config, self.tokenizers)
        examples = tokenize_pairs(self.corpora.train, *self.tokenizers)
        self._guidance: Guidance | None = None
        pad: Callable[..., Any] = pad_batch
        if config.guided_alignment.links is not None:
            setup.say("reading links")
            self._guidance = Guidance(
                config, self.corpora.train, examples, self.tokenizers
            )
            pad = self._guidance.links.pad_batch
        self._batches = plan_batches(config, examples, setup.mesh.size, pad)
        check_positions(config, self._batches.shapes)
        self.translator = Translator(
            self.model,
            search=GREEDY,  # BLEU during training only has to choose a checkpoint
            max_source_length=config.max_source_length,
            mesh=setup.mesh,
            rows=128,
        )
        try:  # now, not at the first evaluation: a source may be too long
            self._validation = self.translator.tokenize_pairs(
                self.corpora.validation, check_targets=False
            )
        except UserError as error:
            raise UserError(f"validation: {error}") from error
        self._translations: list[list[Translation]] = []

    def _load_tokenizers(self, setup: TaskSetup) -> Tokenizers:
        saved = None if setup.saved is None else Tokenizers.saved(setup.saved)
        if saved is not None:
            return saved
        setup.say("making vocabularies")
        return Tokenizers(*self.config.tokenizer.train(self.corpora.train))

    def init_params(self) -> Params:
        """Returns the model's initial parameters."""
        return self._params

    def loss(self, params: Params, batch: Batch, rng: jax.Array | None) -> Loss:
        """Computes the label-smoothed cross-entropy of the target tokens.

        With guided alignment, that of the links is added.
        """
        options: Any = {"label_smoothing": self.config.label_smoothing}
        if self._guidance is not None:
            loss = self._guidance.loss(self.model, params, batch, rng, **options)
        else:
            loss = self.model.loss(params, batch, rng, **options)
        if self.config.mean_over == "tokens":
            return loss
        return loss._replace(num_tokens=(batch.target != PAD).any(axis=1).sum())

    def batches(self, start: int) -> Iterator[Batch]:
        """Iterates over this process's rows of the batches from a step on."""
        return self._batches.iterate(
            start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def evaluate(self, params: Params) -> Mapping[str, float]:
        """Computes greedy BLEU, exact match and cross-entropy of the validation set."""
        pairs = self.corpora.validation
        found = self.translator.translate(
            params,
            [pair.source for pair in pairs],
            encoded=self._validation.sources,
        )
        texts = [best[0].text if best else "" for best in found]
        tokenizer = bleu_tokenizer(self.config.data)
        corpus = score_corpus(pairs, texts, bleu_tokenizer=tokenizer)
        metrics = {"bleu": corpus.bleu, "exact_match": corpus.exact_match}
        if fitting := self._fitting(self._validation):
            batches = evaluation_batches(fitting, self._batches.shapes)
            metrics["loss"] = self.translator.nats_per_token(params, batches)
        self._translations = found[:SAMPLES]
        return metrics

    def _fitting(self, examples: TokenizedPairs) -> Sequence[Any]:
        """The examples that fit a training shape; the others only count for BLEU."""
        fits = assign_buckets(examples.lengths + 1, self._batches.shapes) >= 0  # + EOS
        return [examples[i] for i in np.flatnonzero(fits)]

    def samples(self, params: Params) -> Iterator[str]:
        """Shows the first validation sentences as `evaluate` has translated them."""
        for pair, found in zip(
            self.corpora.validation, self._translations, strict=False
        ):
            yield f"{pair.source} -> {found[0].text if found else ''}"

    def save(self, folder: Path) -> None:
        """Writes the tokenisers."""
        self.tokenizers.save(folder)

    def fingerprints(self) -> Mapping[str, str]:
        """Hashes the training and the validation pairs, and the links."""
        found = {
            "training": fingerprint_pairs(self.corpora.train),
            "validation": fingerprint_pairs(self.corpora.validation),
        }
        if self._guidance is not None:
            found["links"] = self._guidance.fingerprint
        return found

    def num_shapes(self) -> int:
        """Counts the batch shapes."""
        return len(self._batches.shapes)

    def summary(self) -> str:
        """Counts pairs, batches and batch shapes."""
        batches = self._batches
        return (
            f"{len(self.corpora.train)} pairs ({batches.dropped} too long), "
            f"{batches.batches_per_epoch} batches an epoch in "
            f"{len(batches.shapes)} shapes"
        )
