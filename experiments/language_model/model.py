"""A language model with its tokeniser, as pure functions of parameters."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core.losses import linear_cross_entropy
from attnjax.models.gpt import GPT, GPTConfig
from attnjax.models.state import split
from attnjax.train import Loss, Params
from experiments.cli.exit_codes import invalid_settings
from experiments.datasets.tokenizers.text import TextTokenizer
from experiments.language_model.config import Config

# Number of logits that the loss materialises at a time, about: 16 MiB in float32.
CHUNK_LOGITS = 1 << 22


class LanguageModel(NamedTuple):
    """A model and its tokeniser; every method takes the parameters.

    Attributes:
      rebuild: makes the model of a tree of parameters.
      tokenizer: maps text to ids and back.
      config: the model's settings, with the vocabulary size of the tokeniser.
    """

    rebuild: Callable[[Params], GPT]
    tokenizer: TextTokenizer
    config: GPTConfig

    def loss(self, params: Params, windows: Array, rng: Array | None = None) -> Loss:
        """Cross-entropy of the windows' tokens, summed, in nats; and their number.

        Args:
          params: the model's parameters.
          windows: windows of ids, [B, T + 1]: each token predicts the next. Negative
            ids (`datasets.text.windows.IGNORE_INDEX`) are padding.
          rng: random key for dropout; None disables it.
        """
        inputs, targets = jnp.maximum(windows[:, :-1], 0), windows[:, 1:]
        model = self.rebuild(params)
        features, _ = model.features(inputs, rng=rng)
        real = targets >= 0
        nats = linear_cross_entropy(
            features,
            *model.output,
            targets,
            real.astype(jnp.float32),
            chunk_size=max(512, CHUNK_LOGITS // self.config.vocab_size),
        )
        return Loss(nats, real.sum())


def build_model(
    config: Config, tokenizer: TextTokenizer
) -> tuple[LanguageModel, Params]:
    """Builds the model of a config, and its initial parameters.

    Raises:
      UserError: if the model's settings do not fit together.
    """
    sized = dataclasses.replace(config.model, vocab_size=tokenizer.vocab_size)
    with invalid_settings("model"):
        rebuild, params = split(GPT(sized, rngs=nnx.Rngs(params=config.seed)))
        model = LanguageModel(rebuild, tokenizer, sized)
        # Traced now, so that an invalid setting is found before the run is created.
        windows = jax.ShapeDtypeStruct((1, sized.max_length + 1), jnp.int32)
        jax.eval_shape(model.loss, params, windows, jax.random.key(0))
    return model, params
