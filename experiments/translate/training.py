"""Training a translation system: what the loop of `experiments.run` is given."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.parallel import make_mesh, replicate, replicated, shard_batch
from attnjax.train import Batch, Params, init_state, make_train_step
from experiments.datasets.batching import TokenBatches
from experiments.datasets.encode import Encoded, encode_pairs
from experiments.datasets.ordered import ordered_batches
from experiments.datasets.cldr.cldr_builder import Cldr
from experiments.datasets.pairs import Pair, read_pairs
from experiments.processes import on_main
from experiments.run import Run, fit
from experiments.translate.config import Config, SearchConfig
from experiments.translate.scores import score_corpus
from experiments.translate.system import System, Tokenizers, build_system
from experiments.translate.translator import Translator


MAY_CHANGE = ("log_every", "data.raw_dir", "data.data_dir")  # when resumed


class Corpora(NamedTuple):
    """What a run learns from."""

    train: list[Pair]
    validation: list[Pair]


def load_corpora(config: Config) -> Corpora:
    """Reads training and validation pairs, preparing them on first use."""
    return Corpora(
        read_pairs(config.data, "train"), read_pairs(config.data, "validation")
    )


def bleu_tokenizer(config: Config) -> str:
    """sacrebleu's tokeniser: the embedded phrases are units parted by blanks."""
    return "none" if isinstance(config.data, Cldr) else "13a"


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
        """Encodes the data and plans the batches; nothing is compiled yet."""
        self.config, self.corpora = config, corpora
        self.mesh = make_mesh() if mesh is None else mesh
        self.system, self.params = build_system(config, tokenizers)
        self.batches = TokenBatches(
            encode_pairs(corpora.train, *tokenizers),
            tokens=config.batch_tokens,
            seed=config.seed,
            buckets=config.buckets,
            row_multiple=self.mesh.size * config.accumulate,
            max_length=config.max_length,
        )
        self.validation = encode_pairs(corpora.validation, *tokenizers)
        self.translator = Translator(
            self.system,
            # Greedy: BLEU while training only has to choose a checkpoint.
            search=SearchConfig(beam_size=1, length_penalty=0.0),
            source_limit=config.source_limit,
            mesh=self.mesh,
            rows=128,
        )
        self._nats = jax.jit(partial(self.system.loss, rng=None))

    def fit(self, run: Run, *, title: str = "") -> Params:
        """Trains to the last step and returns the parameters."""
        config = self.config
        rng = jax.random.key(config.seed)
        tx = config.optimizer.build(config.steps)
        loss = partial(self.system.loss, smoothing=config.label_smoothing)
        state = fit(
            run,
            state=replicate(init_state(self.params, tx), self.mesh),
            train_step=make_train_step(
                loss,
                tx,
                accumulate=config.accumulate,
                state_sharding=replicated(self.mesh),
            ),
            batches=self.iterate,
            steps=config.steps,
            rng=replicate(rng, self.mesh),
            evaluate=self.validate,
            log_every=config.log_every,
            evaluate_every=config.evaluate_every,
            save_every=config.save_every,
            best=("bleu", "max"),
            title=title,
        )
        return state.params

    def iterate(self, start: int) -> Iterator[Batch]:
        """Batches on the devices from a step on, each process reading its rows."""
        host = self.batches.iterate(
            start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        return (shard_batch(batch, self.mesh) for batch in host)

    def validate(self, params: Params) -> dict[str, float]:
        """Loss in nats a token and greedy BLEU on the validation pairs."""
        pairs = self.corpora.validation
        found = self.translator.translate(params, [pair.source for pair in pairs])
        texts = [best[0].text if best else "" for best in found]
        corpus = score_corpus(pairs, texts, bleu_tokenizer=bleu_tokenizer(self.config))
        return {
            "loss": self.nats_per_token(params, self.validation),
            "bleu": corpus.bleu,
            "exact_match": corpus.exact_match,
        }

    def nats_per_token(self, params: Params, examples: Encoded) -> float:
        """Mean negative log-likelihood of target tokens, EOS among them."""
        total = weight = 0.0
        fitting = self._fitting(examples)
        for _, batch in ordered_batches(fitting, self.batches.shapes):
            loss = self._nats(params, self.translator._place(batch))
            total += float(loss.total)
            weight += float(loss.weight)
        return total / max(weight, 1)

    def _fitting(self, examples: Encoded) -> Sequence[Any]:
        """The examples that fit a training shape; others only show in BLEU."""
        longest = np.array([[s.source, s.target] for s in self.batches.shapes])
        fits = [
            bool((lengths + 1 <= longest).all(axis=1).any())
            for lengths in examples.lengths
        ]
        return [examples[i] for i, ok in enumerate(fits) if ok]


def train(
    config: Config, folder: Path, *, resume: bool, say: Callable[[str], None]
) -> None:
    """Trains a config in a folder of its own, or goes on with one.

    Args:
      config: what to train.
      folder: of the run; must be new unless it is resumed.
      resume: go on where the run in the folder stopped.
      say: told what is being prepared.

    Raises:
      UserError: if the data are at fault, or the folder cannot be used.
    """
    say("reading data")
    corpora = load_corpora(config)
    tokenizers = Tokenizers.saved(folder) if resume else None
    if tokenizers is None:
        say("making vocabularies")
        tokenizers = Tokenizers(*config.tokenizer.train(corpora.train))
    run = Run.create(folder, config, resume=resume, may_change=MAY_CHANGE)
    on_main(lambda: tokenizers.save(run.folder))
    trainer = Trainer(config, corpora, tokenizers)
    batches = trainer.batches
    say(
        f"{len(corpora.train)} pairs ({batches.dropped} too long), "
        f"{batches.batches_per_epoch} batches an epoch in {len(batches.shapes)} shapes"
    )
    trainer.fit(run)
