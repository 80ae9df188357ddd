"""A translation system: a model with its tokenisers, as functions of parameters."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core.losses import linear_cross_entropy
from attnjax.decode import Hypotheses, beam
from attnjax.models.rnn_encdec import RNNEncoderDecoder, RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearch, RNNSearchConfig
from attnjax.models.state import split
from attnjax.models.transformer import Transformer, TransformerConfig
from attnjax.train import Loss, Params
from experiments.datasets.batching import Batch
from experiments.datasets.tokenizers import (
    BOS,
    EOS,
    PAD,
    UNK,
    Tokenizer,
    load_tokenizer,
)
from experiments.entry import settings_at_fault
from experiments.translate.config import Config, ModelConfig, SearchConfig

Model = Any  # any `SequenceModel`

MODELS: dict[type, Callable[..., Model]] = {
    RNNSearchConfig: RNNSearch,
    RNNEncoderDecoderConfig: RNNEncoderDecoder,
    TransformerConfig: Transformer,
}


class Tokenizers(NamedTuple):
    """How either language becomes ids."""

    source: Tokenizer
    target: Tokenizer

    def save(self, folder: Path) -> None:
        """Writes both into a run's folder."""
        self.source.save(folder, "source")
        self.target.save(folder, "target")

    @classmethod
    def saved(cls, folder: Path) -> Self | None:
        """Reads both from a run's folder; None where there are none yet."""
        if not any(folder.glob("target.*")):
            return None
        return cls(load_tokenizer(folder, "source"), load_tokenizer(folder, "target"))


class System(NamedTuple):
    """A model and what its ids mean; parameters are passed in."""

    rebuild: Callable[[Params], Model]
    tokenizers: Tokenizers

    def loss(
        self, params: Params, batch: Batch, rng: Array | None, *, smoothing: float = 0.0
    ) -> Loss:
        """Nats of a batch's target tokens, summed, and how many they are."""
        source, target = map(jnp.asarray, batch)
        previous = previous_tokens(target)
        model, real = self.rebuild(params), target != PAD
        units, _ = model.features(source, source != PAD, previous, rng)
        counts = real.astype(jnp.float32)
        matrix, bias = model.output
        nats = linear_cross_entropy(
            units, matrix, bias, target, counts, smoothing=smoothing
        )
        return Loss(nats, real.sum())

    def align(self, params: Params, batch: Batch) -> Array:
        """Weights [B, T, S] with which the model reads when it writes the target."""
        source, target = map(jnp.asarray, batch)
        previous = previous_tokens(target)
        _, weights = self.rebuild(params)(source, source != PAD, previous)
        return weights

    def search(
        self,
        params: Params,
        source: Array,
        *,
        search: SearchConfig,
        n_best: int = 1,
    ) -> Hypotheses:
        """Translates source ids [B, S] with a beam; rows of padding get nothing."""
        model, mask = self.rebuild(params), source != PAD
        memory = model.encode(source, mask)
        lengths = jnp.sum(mask, axis=1)
        limit = (lengths.astype(jnp.float32) * search.max_ratio).astype(jnp.int32) + 10
        size = int(source.shape[1] * search.max_ratio) + 10
        return beam(
            partial(model.step, memory),
            model.start(memory, size),
            batch_size=source.shape[0],
            beam_size=max(search.beam_size, n_best),
            max_length=jnp.where(lengths > 0, limit, 0),
            size=size,
            bos=BOS,
            eos=EOS,
            pad=PAD,
            forbid=(UNK,) if search.forbid_unk else (),
            length_penalty=search.length_penalty,
            n_best=n_best,
        )


def previous_tokens(target: Array) -> Array:
    """The token before each target position: BOS, then the target without its last."""
    return jnp.concatenate([jnp.full_like(target[:, :1], BOS), target[:, :-1]], axis=1)


def build_model(config: ModelConfig, tokenizers: Tokenizers, seed: int) -> Model:
    """Makes the model with fresh parameters.

    Raises:
      UserError: if its sizes do not fit together.
    """
    sized = dataclasses.replace(
        config,
        source_vocab=tokenizers.source.vocab_size,
        target_vocab=tokenizers.target.vocab_size,
    )
    with settings_at_fault("model"):
        return MODELS[type(config)](sized, rngs=nnx.Rngs(params=seed))


def build_system(config: Config, tokenizers: Tokenizers) -> tuple[System, Params]:
    """Makes the system of a config, and its parameters before training."""
    rebuild, params = split(build_model(config.model, tokenizers, config.seed))
    return System(rebuild, tokenizers), params
