"""A model of sequences of bits, as pure functions of parameters."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from attnjax.models.ntm import NTM, NTMConfig
from attnjax.models.rnn import RNN
from attnjax.models.state import split
from attnjax.train import Loss, Params
from experiments.algorithms.config import Config, ModelConfig
from experiments.algorithms.sequences import Algorithm, Sequences
from experiments.cli.exit_codes import invalid_settings

BITS_PER_NAT = float(1 / np.log(2))


class Costs(NamedTuple):
    """What a model pays for each sequence of a batch."""

    nats: Array  # [B], cross-entropy of the predicted bits, summed
    wrong: Array  # [B], predicted bits that are wrong when rounded


def bit_costs(logits: Array, batch: Sequences) -> Costs:
    """What logits [B, T, O] cost; bits that are not predicted cost nothing."""
    nats = optax.sigmoid_binary_cross_entropy(logits, batch.targets)
    wrong = (logits > 0) != (batch.targets > 0.5)
    mask = jnp.asarray(batch.mask)[..., None]  # [B, T] -> [B, T, 1]

    def total(x: Array) -> Array:
        return jnp.sum(jnp.where(mask, x, 0), axis=(1, 2))  # [B, T, O] -> [B]

    return Costs(total(nats), total(wrong.astype(nats.dtype)))


class SequenceBits(NamedTuple):
    """A model of sequences of bits; every method takes the parameters.

    Attributes:
      rebuild: makes the model of a tree of parameters.
      config: the model's settings, with the widths of the task.
    """

    rebuild: Callable[[Params], NTM | RNN]
    config: ModelConfig

    def costs(self, params: Params, batch: Sequences) -> Costs:
        """Predicts the bits of every sequence; what is not predicted costs nothing."""
        logits, _ = self.rebuild(params)(jnp.asarray(batch.inputs))
        return bit_costs(logits, batch)

    def loss(self, params: Params, batch: Sequences, rng: Array | None = None) -> Loss:
        """The nats of all sequences of a batch, summed, and their number."""
        nats = self.costs(params, batch).nats
        return Loss(nats.sum(), jnp.full((), len(nats), jnp.float32))


def build_model(config: Config) -> tuple[SequenceBits, Params]:
    """Builds the model of a config, and its initial parameters.

    Raises:
      UserError: if the model's settings do not fit together.
    """
    sized = dataclasses.replace(
        config.model,
        input_dim=config.algorithm.input_dim,
        output_dim=config.algorithm.output_dim,
    )
    kind = NTM if isinstance(sized, NTMConfig) else RNN
    with invalid_settings("model"):
        rebuild, params = split(kind(sized, rngs=nnx.Rngs(params=config.seed)))  # type: ignore[arg-type]
        model = SequenceBits(rebuild, sized)
        # Traced now, so that an invalid setting is found before the run is created.
        batch = config.algorithm.generate(np.random.default_rng(0), 1)
        jax.eval_shape(model.loss, params, batch)
    return model, params


def tape_warning(model: ModelConfig, algorithm: Algorithm) -> str:
    """Says in a line when sequences ask for more rows than the tape has, else ""."""
    if not isinstance(model, NTMConfig):
        return ""
    rows = algorithm.rows_needed()
    if rows <= model.tape_size:
        return ""
    return (
        f"sequences of up to {rows} vectors are longer than the tape of "
        f"{model.tape_size} rows: what comes later overwrites what came first"
    )
