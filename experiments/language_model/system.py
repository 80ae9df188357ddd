"""A language model with its tokeniser, as functions of parameters."""

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
from experiments.cli.exit_codes import settings_at_fault
from experiments.datasets.tokenizers.text import TextTokenizer
from experiments.language_model.config import Config

LOGITS = 1 << 22  # how many there are at a time, about: few pieces, and little memory


class System(NamedTuple):
    """A model and what its ids mean; parameters are passed in."""

    rebuild: Callable[[Params], GPT]
    tokenizer: TextTokenizer
    config: GPTConfig  # with the tokeniser's vocabulary

    def loss(self, params: Params, crops: Array, rng: Array | None = None) -> Loss:
        """Nats of the tokens that crops [B, T + 1] predict, and how many they are.

        Negative ids (`datasets.crops.NOTHING`) are neither read nor predicted.
        """
        read, targets = jnp.maximum(crops[:, :-1], 0), crops[:, 1:]
        model = self.rebuild(params)
        units, _ = model.features(read, rng=rng)
        real = targets >= 0
        nats = linear_cross_entropy(
            units,
            *model.output,
            targets,
            real.astype(jnp.float32),
            chunk_size=max(512, LOGITS // self.config.vocab_size),
        )
        return Loss(nats, real.sum())


def build_system(config: Config, tokenizer: TextTokenizer) -> tuple[System, Params]:
    """Makes the system of a config, and its parameters before training.

    Raises:
      UserError: if the model's settings do not fit together.
    """
    sized = dataclasses.replace(config.model, vocab_size=tokenizer.vocab_size)
    with settings_at_fault("model"):
        rebuild, params = split(GPT(sized, rngs=nnx.Rngs(params=config.seed)))
        system = System(rebuild, tokenizer, sized)
        # Traced now, so that no setting is found at fault when the run has begun.
        crops = jax.ShapeDtypeStruct((1, sized.max_length + 1), jnp.int32)
        jax.eval_shape(system.loss, params, crops, jax.random.key(0))
    return system, params
