"""What `experiments.training.fit` is given to train a translation system."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.parallel import make_global_batch, make_mesh
from attnjax.train import Batch, Params
from experiments.cli.checks import check_numbers
from experiments.datasets.pairs.bucketing import (
    Shape,
    assign_buckets,
    choose_shapes,
)
from experiments.datasets.pairs.evaluation_batches import evaluation_batches
from experiments.datasets.pairs.tokenized import TokenizedPairs, tokenize_pairs
from experiments.datasets.pairs.training_batches import TokenBatches
from experiments.errors import UserError
from experiments.runs.processes import on_main
from experiments.training.config import train_on
from experiments.training.fit import Run
from experiments.translate.config import Config, SearchConfig
from experiments.translate.data import Corpora, bleu_tokenizer, load_corpora
from experiments.translate.scores import score_corpus
from experiments.translate.system import Tokenizers, build_system
from experiments.translate.translator import Translator

MAY_CHANGE = ("log_every", "data.raw_dir", "data.data_dir")  # when resumed


class Trainer:
    """A config made real: system, batches, step and validation."""

    def __init__(
        self,
        config: Config,
        corpora: Corpora,
        tokenizers: Tokenizers,
        *,
        mesh: Mesh | None = None,
    ) -> None:
        """Encodes the data and plans the batches; nothing is compiled yet.

        Raises:
          UserError: if the settings do not fit the data or the devices.
        """
        self.config, self.corpora = config, corpora
        self.mesh = make_mesh() if mesh is None else mesh
        self.system, self.params = build_system(config, tokenizers)
        self.batches = plan_batches(
            config, tokenize_pairs(corpora.train, *tokenizers), self.mesh.size
        )
        self.validation = tokenize_pairs(corpora.validation, *tokenizers)
        self.translator = Translator(
            self.system,
            # Greedy: BLEU while training only has to choose a checkpoint.
            search=SearchConfig(beam_size=1, length_penalty=0.0),
            source_limit=config.source_limit,
            mesh=self.mesh,
            rows=128,
        )
        # Now, not at the first validation: one of them may be too long.
        self.translator.encode([pair.source for pair in corpora.validation])

    def fit(self, run: Run, *, title: str = "") -> Params:
        """Trains to the last step and returns the parameters."""
        loss = partial(self.system.loss, smoothing=self.config.label_smoothing)
        return train_on(
            self.mesh,
            run,
            self.config,
            params=self.params,
            loss=loss,
            batches=self.iterate,
            evaluate=self.validate,
            best=("bleu", "max"),
            title=title,
        )

    def iterate(self, start: int) -> Iterator[Batch]:
        """Batches on the devices from a step on, each process reading its rows."""
        host = self.batches.iterate(
            start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        return (make_global_batch(batch, self.mesh) for batch in host)

    def validate(self, params: Params) -> dict[str, float]:
        """Loss in nats a token and greedy BLEU on the validation pairs."""
        pairs = self.corpora.validation
        found = self.translator.translate(params, [pair.source for pair in pairs])
        texts = [best[0].text if best else "" for best in found]
        tokenizer = bleu_tokenizer(self.config.data)
        corpus = score_corpus(pairs, texts, bleu_tokenizer=tokenizer)
        scores = {"bleu": corpus.bleu, "exact_match": corpus.exact_match}
        if fitting := self._fitting(self.validation):
            batches = evaluation_batches(fitting, self.batches.shapes)
            scores["loss"] = self.translator.nats_per_token(params, batches)
        return scores

    def _fitting(self, examples: TokenizedPairs) -> Sequence[Any]:
        """The examples that fit a training shape; others only show in BLEU."""
        room = assign_buckets(examples.lengths + 1, self.batches.shapes) >= 0
        return [examples[i] for i in np.flatnonzero(room)]


def plan_batches(
    config: Config, examples: TokenizedPairs, devices: int
) -> TokenBatches:
    """Plans a run's batches.

    Their rows are a multiple of `row_multiple`, so that runs on 1, 2, 4 or 8 devices
    see the same batches, and of the devices that there are.

    Raises:
      UserError: if the settings do not fit the data or the devices.
    """
    multiple = math.lcm(config.row_multiple, devices * config.accumulate)
    tokens, shapes = config.batch_tokens, None
    if config.batch_sentences is not None:
        rows = config.batch_sentences
        if rows % multiple:
            raise UserError(
                f"batch_sentences: expected a multiple of {multiple} (of "
                f"row_multiple, and of {devices} devices x {config.accumulate} parts), "
                f"got {rows}"
            )
        shapes = shapes_of_rows(config, examples, rows)
    return TokenBatches(
        examples,
        batch_tokens=tokens,
        seed=config.seed,
        buckets=config.buckets,
        shapes=shapes,
        row_multiple=multiple,
        max_length=config.max_length,
    )


def shapes_of_rows(
    config: Config, examples: TokenizedPairs, rows: int
) -> list[Shape] | None:
    """Chooses batch shapes that all have so many rows; None if no example is left."""
    lengths = examples.lengths[(examples.lengths <= config.max_length).all(axis=1)] + 1
    if not len(lengths):
        return None
    tokens = rows * int(lengths.max())
    chosen = choose_shapes(lengths, batch_tokens=tokens, buckets=config.buckets)
    return [Shape(rows, shape.source, shape.target) for shape in chosen]


def train(
    config: Config, folder: Path, *, resume: bool, say: Callable[[str], None]
) -> None:
    """Trains a config in a folder of its own, or goes on with one.

    Args:
      config: what to train.
      folder: of the run; must be new unless it is resumed. It is made when
        everything else has been found to be in order.
      resume: go on where the run in the folder stopped.
      say: told what is being prepared.

    Raises:
      UserError: if a setting or the data are at fault, or the folder cannot be used.
    """
    check_numbers(config)
    Run.check(folder, config, resume=resume, may_change=MAY_CHANGE)
    say("reading data")
    corpora = load_corpora(config.data)
    tokenizers = Tokenizers.saved(folder) if resume else None
    if tokenizers is None:
        say("making vocabularies")
        tokenizers = Tokenizers(*config.tokenizer.train(corpora.train))
    trainer = Trainer(config, corpora, tokenizers)
    run = Run.create(folder, config, resume=resume, may_change=MAY_CHANGE)
    on_main(lambda: tokenizers.save(run.folder))
    batches = trainer.batches
    say(
        f"{len(corpora.train)} pairs ({batches.dropped} too long), "
        f"{batches.batches_per_epoch} batches an epoch in {len(batches.shapes)} shapes"
    )
    trainer.fit(run)
