"""A translation model with its tokenisers, as pure functions of parameters."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax import SequenceModel
from attnjax.core.losses import token_cross_entropy
from attnjax.decode import Hypotheses, Step, beam_search, ensemble
from attnjax.models.marginal_cursor import MarginalCursor, MarginalCursorConfig
from attnjax.models.rnn_encdec import RNNEncoderDecoder, RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearch, RNNSearchConfig
from attnjax.models.seq2seq import Seq2Seq, Seq2SeqConfig
from attnjax.models.state import split
from attnjax.models.transformer import Transformer, TransformerConfig
from attnjax.train import Loss, Params
from experiments.cli.exit_codes import invalid_settings
from experiments.datasets.pairs.batching import Batch, output_limits, previous_tokens
from experiments.datasets.tokenizers.sentences import (
    BOS,
    EOS,
    PAD,
    UNK,
)
from experiments.datasets.tokenizers.sides import Tokenizers
from experiments.translate.config import Config, SearchConfig, max_positions

MODELS: dict[type, Callable[..., Any]] = {
    RNNSearchConfig: RNNSearch,
    RNNEncoderDecoderConfig: RNNEncoderDecoder,
    Seq2SeqConfig: Seq2Seq,
    MarginalCursorConfig: MarginalCursor,
    TransformerConfig: Transformer,
}


@dataclasses.dataclass(frozen=True)
class TranslationModel:
    """A model and its tokenisers; every method takes the parameters.

    Attributes:
      rebuild: makes the model of a tree of parameters.
      tokenizers: of both languages.
      max_positions: the most tokens of either side, EOS included; None sets no limit.
    """

    rebuild: Callable[[Params], SequenceModel]
    tokenizers: Tokenizers
    max_positions: int | None = None

    def loss(
        self,
        params: Params,
        batch: Batch,
        rng: Array | None,
        *,
        label_smoothing: float = 0.0,
    ) -> Loss:
        """Cross-entropy of the target tokens, summed, in nats; and their number."""
        source, target = map(jnp.asarray, batch)
        previous = previous_tokens(target)
        model, real = self.rebuild(params), target != PAD
        arguments = source, source != PAD, previous, target, real, rng
        nats = model.cross_entropy(*arguments, smoothing=label_smoothing)
        return Loss(nats, real.sum())

    def align(
        self,
        params: Params,
        batch: Batch,
        *,
        layer: int | None = None,
        heads: tuple[int, ...] = (),
    ) -> Array:
        """The alignment [B, T, S] of the teacher-forced target.

        Layer and heads are those of `SequenceModel.features_and_weights`.
        """
        source, target = map(jnp.asarray, batch)
        model, mask = self.rebuild(params), source != PAD
        previous, real = previous_tokens(target), target != PAD
        if layer is None and not heads:
            return model.align(source, mask, previous, target, real)
        given = source, mask, previous
        return model.features_and_weights(*given, layer=layer, heads=heads)[1]

    def token_log_probs(self, params: Params, batch: Batch) -> Array:
        """Log-probabilities of the target's tokens, [B, T], in nats; 0 at padding."""
        logits, _ = self.teacher_forced(params, batch)
        target = jnp.asarray(batch.target)
        return jnp.where(target != PAD, -token_cross_entropy(logits, target), 0)

    def teacher_forced(self, params: Params, batch: Batch) -> tuple[Array, Array]:
        """Logits [B, T, V] and attention weights [B, T, S], given the target."""
        source, target = map(jnp.asarray, batch)
        previous = previous_tokens(target)
        return self.rebuild(params)(source, source != PAD, previous)

    def _decoding_step(
        self, params: Params, source: Array, mask: Array, size: int
    ) -> tuple[Step, Any]:
        """The step that decodes a token, and the carry before the first one."""
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
        layer: int | None = None,
        heads: tuple[int, ...] = (),
    ) -> Hypotheses:
        """Translates source ids [B, S] by beam search; padding rows stay empty.

        The weights are those of the search. Those of a layer or of heads, as of
        `SequenceModel.features_and_weights`, are computed once it has ended: the
        hypotheses are read again (teacher forcing).
        """
        found = self._beam_search(params, source, search, n_best)
        if layer is None and not heads:
            return found
        B, K, T = found.tokens.shape
        rows = jnp.repeat(source, K, axis=0)  # [B, S] -> [B*K, S]
        tokens = found.tokens.reshape(B * K, T)  # [B, K, T] -> [B*K, T]
        read = Batch._make((rows, tokens))
        weights = self.align(params, read, layer=layer, heads=heads)
        weights = weights.reshape(B, K, T, -1)  # [B*K, T, S] -> [B, K, T, S]
        return found._replace(weights=weights)

    def _beam_search(
        self, params: Params, source: Array, search: SearchConfig, n_best: int
    ) -> Hypotheses:
        mask = source != PAD
        lengths = jnp.sum(mask, axis=1)
        limits, size = output_limits(
            lengths, source.shape[1], ratio=search.max_length_ratio, extra=10
        )
        if self.max_positions is not None:
            size = min(size, self.max_positions)
        step, carry = self._decoding_step(params, source, mask, size)
        return beam_search(
            step,
            carry,
            batch_size=source.shape[0],
            beam_size=max(search.beam_size, n_best),
            max_length=limits,
            max_decode_length=size,
            bos=BOS,
            eos=EOS,
            pad=PAD,
            suppress_tokens=(UNK,) if search.suppress_unk else (),
            no_repeat_ngram_size=search.no_repeat_ngram_size,
            length_penalty=search.length_penalty,
            coverage_penalty=search.coverage_penalty,
            source_mask=mask,
            n_best=n_best,
        )


@dataclasses.dataclass(frozen=True)
class Ensemble(TranslationModel):
    """Several models of one architecture that decode together.

    Every leaf of the parameters has a leading axis N, one entry per model. It is not
    made for training: its loss has no dropout and materialises all logits.
    """

    combine: Literal["log-linear", "linear"] = "log-linear"

    def loss(
        self,
        params: Params,
        batch: Batch,
        rng: Array | None,
        *,
        label_smoothing: float = 0.0,
    ) -> Loss:
        """Cross-entropy of the combined probabilities, without label smoothing."""
        nats = -self.token_log_probs(params, batch).sum()
        return Loss(nats, (jnp.asarray(batch.target) != PAD).sum())

    def align(
        self,
        params: Params,
        batch: Batch,
        *,
        layer: int | None = None,
        heads: tuple[int, ...] = (),
    ) -> Array:
        """The mean of the models' alignments, [B, T, S]."""
        align = partial(super().align, batch=batch, layer=layer, heads=heads)
        return jnp.mean(jax.vmap(align)(params), axis=0)

    def teacher_forced(self, params: Params, batch: Batch) -> tuple[Array, Array]:
        """Combines the models as decoding does, all positions in one step."""
        (B, T), teacher_forced = batch.target.shape, super().teacher_forced

        def step(params: Params, carry: tuple[()], token: Array) -> Any:
            logits, weights = teacher_forced(params, batch)
            logits = logits.reshape(B * T, -1)  # [B, T, V] -> [B*T, V]
            weights = weights.reshape(B * T, -1)  # [B, T, S] -> [B*T, S]
            return carry, logits, weights

        combined = ensemble(step, params, combine=self.combine)
        _, logits, weights = combined((), jnp.zeros(B * T, jnp.int32))
        logits = logits.reshape(B, T, -1)  # [B*T, V] -> [B, T, V]
        weights = weights.reshape(B, T, -1)  # [B*T, S] -> [B, T, S]
        return logits, weights

    def _decoding_step(
        self, params: Params, source: Array, mask: Array, size: int
    ) -> tuple[Step, Any]:
        def encode(params: Params) -> Any:
            return self.rebuild(params).encode(source, mask)

        def initial_carry(params: Params, memory: Any) -> Any:
            return self.rebuild(params).start(memory, size)

        def step(member: Any, carry: Any, token: Array) -> Any:
            params, memory = member
            return self.rebuild(params).step(memory, carry, token)

        members = params, jax.vmap(encode)(params)
        # [N, B, ...] -> [B, N, ...]: beam search reorders the first axis of a carry.
        carry = jax.vmap(initial_carry, out_axes=1)(*members)
        return ensemble(step, members, combine=self.combine), carry


def build_model(
    config: Config, tokenizers: Tokenizers
) -> tuple[TranslationModel, Params]:
    """Builds the model of a config, and its initial parameters.

    Raises:
      UserError: if the model's sizes do not fit together.
    """
    sized = dataclasses.replace(
        config.model,
        source_vocab_size=tokenizers.source.vocab_size,
        target_vocab_size=tokenizers.target.vocab_size,
    )
    with invalid_settings("model"):
        model = MODELS[type(sized)](sized, rngs=nnx.Rngs(params=config.seed))
    rebuild, params = split(model)
    positions = max_positions(sized)
    return TranslationModel(rebuild, tokenizers, positions), params
