"""A language model with its tokeniser, as pure functions of parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core.losses import linear_cross_entropy
from attnjax.models.gpt import GPT, GPTConfig
from attnjax.models.lstm_lm import LSTMLM, LSTMLMConfig
from attnjax.models.memn2n_lm import MemN2NLM, MemN2NLMConfig
from attnjax.models.state import split
from attnjax.train import Loss, Params
from experiments.cli.exit_codes import invalid_settings
from experiments.datasets.text.streams import Segments
from experiments.datasets.tokenizers.text import TextTokenizer
from experiments.errors import UserError
from experiments.language_model.config import Config, ModelConfig
from experiments.training.weight_noise import with_posterior

MODELS: dict[type, Any] = {
    GPTConfig: GPT,
    MemN2NLMConfig: MemN2NLM,
    LSTMLMConfig: LSTMLM,
}
# Number of logits that the loss materialises at a time, about: 16 MiB in float32.
CHUNK_LOGITS = 1 << 22


class LanguageModel(NamedTuple):
    """A model and its tokeniser; every method takes the parameters.

    Attributes:
      rebuild: makes the model of a tree of parameters.
      tokenizer: maps text to ids and back.
      config: the model's settings, with the vocabulary size of the tokeniser.
      context_tokens: number of tokens at the start of a window that are not predicted.
    """

    rebuild: Callable[[Params], GPT | MemN2NLM | LSTMLM]
    tokenizer: TextTokenizer
    config: ModelConfig
    context_tokens: int = 0

    @property
    def capacity(self) -> int | None:
        """Number of tokens that the carry of decoding holds; None: of any text."""
        if not isinstance(self.config, GPTConfig):
            return None
        # A cache with a sliding window keeps that many tokens before the newest ones.
        return self.config.max_length + (self.config.block.sliding_window or 0)

    def start(self, params: Params, batch_size: int) -> Any:
        """Returns the carry before the first token, for `prefill` and `step`."""
        model = self.rebuild(params)
        if isinstance(model, GPT):
            return model.start(batch_size, self.capacity)
        return model.start(batch_size)

    def loss(
        self,
        params: Params,
        windows: Array,
        rng: Array | None = None,
        *,
        context_tokens: Array | None = None,
    ) -> Loss:
        """Cross-entropy of the windows' tokens, summed, in nats; and their number.

        Args:
          params: the model's parameters.
          windows: windows of ids, [B, T + 1]: each token predicts the next. Negative
            ids (`datasets.text.windows.IGNORE_INDEX`) are padding.
          rng: random key for dropout; None disables it.
          context_tokens: number of tokens at the start of each window that are not
            predicted, [B]; None: the model's own.
        """
        inputs, targets = jnp.maximum(windows[:, :-1], 0), windows[:, 1:]
        model = self.rebuild(params)
        features, _ = model.features(inputs, rng=rng)
        if context_tokens is None:
            context_tokens = jnp.full(len(windows), self.context_tokens)
        first = context_tokens[:, None]  # [B] -> [B, 1]
        real = (targets >= 0) & (jnp.arange(targets.shape[1]) >= first)
        return self._cross_entropy(model, features, targets, real)

    def stream_loss(
        self, params: Params, segments: Segments, rng: Array | None, carry: Any
    ) -> tuple[Loss, Any]:
        """The cross-entropy of a segment of each column, and the state after it.

        Args:
          params: the parameters of a model that carries a state.
          segments: ids [B, T + 1] and where the state is reset, [B].
          rng: random key for dropout; None disables it.
          carry: the state after the last segment.
        """
        ids, resets = map(jnp.asarray, segments)
        inputs, targets = jnp.maximum(ids[:, :-1], 0), ids[:, 1:]
        model: Any = self.rebuild(params)
        first = model.start(len(ids))
        fresh = resets[:, None]  # [B] -> [B, 1]
        carry = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), first, carry)
        carry, features = model.segment(carry, inputs, rng=rng)
        return self._cross_entropy(model, features, targets, targets >= 0), carry

    def _cross_entropy(
        self, model: Any, features: Array, targets: Array, real: Array
    ) -> Loss:
        matrix, bias = model.output
        nats = linear_cross_entropy(
            features,
            matrix,
            bias,
            targets,
            real.astype(jnp.float32),
            chunk_size=max(512, CHUNK_LOGITS // self.config.vocab_size),
        )
        return Loss(nats, real.sum())


def check_context(context_tokens: int, max_length: int) -> None:
    """Checks that windows have tokens to predict.

    Raises:
      UserError: if all of them are context.
    """
    if not 0 <= context_tokens < max_length:
        raise UserError(
            f"context_tokens: expected 0 to {max_length - 1}, got {context_tokens} (a "
            f"window has {max_length} tokens, model.max_length; the others are "
            "predicted)"
        )


def build_model(
    config: Config, tokenizer: TextTokenizer
) -> tuple[LanguageModel, Params]:
    """Builds the model of a config, and its initial parameters.

    Raises:
      UserError: if the model's settings do not fit together.
    """
    sized = dataclasses.replace(config.model, vocab_size=tokenizer.vocab_size)
    with invalid_settings("model"):
        kind: Any = MODELS[type(sized)]
        rebuild, params = split(kind(sized, rngs=nnx.Rngs(params=config.seed)))
        rebuild, params = with_posterior(config.weight_noise, rebuild, params)
        model = LanguageModel(rebuild, tokenizer, sized, config.context_tokens)
        # Traced now, so that an invalid setting is found before the run is created.
        windows = jax.ShapeDtypeStruct((1, sized.max_length + 1), jnp.int32)
        jax.eval_shape(model.loss, params, windows, jax.random.key(0))
    return model, params
