"""A translation system: a model with its tokenisers, as functions of parameters."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core.losses import linear_cross_entropy, token_cross_entropy
from attnjax.decode import Hypotheses, Step, beam_search, ensemble
from attnjax.models.rnn_encdec import RNNEncoderDecoder, RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearch, RNNSearchConfig
from attnjax.models.state import split, split_abstract
from attnjax.models.transformer import Transformer, TransformerConfig
from attnjax.train import Loss, Params
from experiments.cli.exit_codes import settings_at_fault
from experiments.datasets.pairs.batching import Batch
from experiments.datasets.tokenizers.sentences import (
    BOS,
    EOS,
    PAD,
    UNK,
    Tokenizer,
    load_tokenizer,
)
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


@dataclasses.dataclass(frozen=True)
class System:
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
        return self._write(params, batch)[1]

    def score(self, params: Params, batch: Batch) -> Array:
        """Log-probabilities of the target's tokens, [B, T], in nats; 0 at padding."""
        logits, _ = self._write(params, batch)
        target = jnp.asarray(batch.target)
        return jnp.where(target != PAD, -token_cross_entropy(logits, target), 0)

    def _write(self, params: Params, batch: Batch) -> tuple[Array, Array]:
        """Logits [B, T, V] and weights [B, T, S] when the target is written."""
        source, target = map(jnp.asarray, batch)
        previous = previous_tokens(target)
        return self.rebuild(params)(source, source != PAD, previous)

    def _begin(
        self, params: Params, source: Array, mask: Array, size: int
    ) -> tuple[Step, Any]:
        """The step that writes a token, and what the first one starts from."""
        model = self.rebuild(params)
        memory = model.encode(source, mask)
        return partial(model.step, memory), model.start(memory, size)

    def search(
        self,
        params: Params,
        source: Array,
        *,
        search: SearchConfig,
        n_best: int = 1,
    ) -> Hypotheses:
        """Translates source ids [B, S] with a beam; rows of padding get nothing."""
        mask = source != PAD
        lengths = jnp.sum(mask, axis=1)
        limit = (lengths.astype(jnp.float32) * search.max_ratio).astype(jnp.int32) + 10
        size = int(source.shape[1] * search.max_ratio) + 10
        step, carry = self._begin(params, source, mask, size)
        return beam_search(
            step,
            carry,
            batch_size=source.shape[0],
            beam_size=max(search.beam_size, n_best),
            max_length=jnp.where(lengths > 0, limit, 0),
            max_decode_length=size,
            bos=BOS,
            eos=EOS,
            pad=PAD,
            suppress_tokens=(UNK,) if search.forbid_unk else (),
            no_repeat_ngram_size=search.no_repeat_ngram_size,
            length_penalty=search.length_penalty,
            coverage_penalty=search.coverage_penalty,
            source_mask=mask,
            n_best=n_best,
        )


@dataclasses.dataclass(frozen=True)
class Ensemble(System):
    """Several models that differ in their parameters, as one.

    Every leaf of its parameters has a leading axis N, of the models. It is not for
    training: its loss has no dropout and holds all logits.
    """

    combine: Literal["log-linear", "linear"] = "log-linear"

    def loss(
        self, params: Params, batch: Batch, rng: Array | None, *, smoothing: float = 0.0
    ) -> Loss:
        """As of `System`, of the joined probabilities."""
        nats = -self.score(params, batch).sum()
        return Loss(nats, (jnp.asarray(batch.target) != PAD).sum())

    def _write(self, params: Params, batch: Batch) -> tuple[Array, Array]:
        """Joins the models as decoding does, all positions in one step."""
        (B, T), write = batch.target.shape, super()._write

        def step(params: Params, carry: tuple[()], token: Array) -> Any:
            logits, weights = write(params, batch)
            return carry, logits.reshape(B * T, -1), weights.reshape(B * T, -1)

        joined = ensemble(step, params, combine=self.combine)
        _, logits, weights = joined((), jnp.zeros(B * T, jnp.int32))
        return logits.reshape(B, T, -1), weights.reshape(B, T, -1)

    def _begin(
        self, params: Params, source: Array, mask: Array, size: int
    ) -> tuple[Step, Any]:
        def encode(params: Params) -> Any:
            return self.rebuild(params).encode(source, mask)

        def start(params: Params, memory: Any) -> Any:
            return self.rebuild(params).start(memory, size)

        def step(member: Any, carry: Any, token: Array) -> Any:
            params, memory = member
            return self.rebuild(params).step(memory, carry, token)

        members = params, jax.vmap(encode)(params)
        carry = jax.vmap(start, out_axes=1)(*members)
        return ensemble(step, members, combine=self.combine), carry


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
        source_vocab_size=tokenizers.source.vocab_size,
        target_vocab_size=tokenizers.target.vocab_size,
    )
    with settings_at_fault("model"):
        return MODELS[type(config)](sized, rngs=nnx.Rngs(params=seed))


def build_system(config: Config, tokenizers: Tokenizers) -> tuple[System, Params]:
    """Makes the system of a config, and its parameters before training."""
    rebuild, params = split(build_model(config.model, tokenizers, config.seed))
    return System(rebuild, tokenizers), params


def abstract_system(config: Config, tokenizers: Tokenizers) -> tuple[System, Params]:
    """Makes the system of a config and its parameters' shapes; nothing is drawn."""
    rebuild, shapes = split_abstract(
        lambda: build_model(config.model, tokenizers, config.seed)
    )
    return System(rebuild, tokenizers), shapes
