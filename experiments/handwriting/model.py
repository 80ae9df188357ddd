"""A network that writes, as pure functions of parameters."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from attnjax.core import mixtures
from attnjax.models.handwriting import Handwriting, HandwritingConfig
from attnjax.models.state import split
from attnjax.train import Loss, Params
from experiments.cli.exit_codes import invalid_settings
from experiments.datasets.strokes.alphabet import Alphabet
from experiments.datasets.strokes.batches import StrokeBatch, StrokeLine
from experiments.datasets.strokes.lines import Line, Statistics
from experiments.errors import UserError
from experiments.handwriting.config import Config
from experiments.training.weight_noise import with_posterior


class Prediction(NamedTuple):
    """What a model says of the points of each line after the first."""

    nats: Array  # [B, T-1], 0 at padding
    squared_errors: Array  # [B, T-1], of the mean offset, 0 at padding
    weights: Array  # [B, T-1, S], of the window that predicts them


@dataclasses.dataclass(frozen=True)
class Writer:
    """A model and what it was trained with; every method takes the parameters.

    Attributes:
      rebuild: makes the model of a tree of parameters.
      config: the model's settings.
      statistics: of the training offsets.
      alphabet: of the texts; None for a model that reads no text.
    """

    rebuild: Callable[[Params], Handwriting]
    config: HandwritingConfig
    statistics: Statistics
    alphabet: Alphabet | None

    def line(self, line: Line, name: str = "text") -> StrokeLine:
        """Normalises a line, and numbers its text.

        Raises:
          UserError: if the text has a character that no training text has.
        """
        points = self.statistics.normalise(line.points)
        if self.alphabet is None:
            return StrokeLine(points, np.zeros(0, np.int32))
        return StrokeLine(points, self.alphabet.encode(line.text, name))

    def loss(self, params: Params, batch: StrokeBatch, rng: Array | None) -> Loss:
        """The nats of all lines of a batch, summed, and their number."""
        nats = self.predict(params, batch).nats
        return Loss(nats.sum(), jnp.any(jnp.asarray(batch.mask), axis=1).sum())

    def predict(self, params: Params, batch: StrokeBatch) -> Prediction:
        """Predicts every point but the first of each line, which is no jump."""
        points, mask, text, text_mask = map(jnp.asarray, batch)
        model = self.rebuild(params)
        memory = model.encode(text, text_mask)
        _, out = model(memory, points[:, :-1], mask[:, :-1])
        nats, errors = jax.vmap(jax.vmap(_cost))(out.outputs, points[:, 1:])
        real = mask[:, 1:]
        return Prediction(
            jnp.where(real, nats, 0), jnp.where(real, errors, 0), out.weights
        )


def _cost(outputs: Array, point: Array) -> tuple[Array, Array]:
    """The nats of a point, and the squared error of the mean offset."""
    mixture = mixtures.pen_mixture(outputs)
    nats = -mixtures.pen_log_density(mixture, point)
    error = mixtures.mean_offset(mixture) - point[:2]
    return nats, jnp.sum(error**2)


def build_model(
    config: Config, statistics: Statistics, alphabet: Alphabet | None
) -> tuple[Writer, Params]:
    """Builds the model of a config, and its initial parameters.

    Raises:
      UserError: if the model's settings do not fit together.
    """
    symbols = 0 if alphabet is None else len(alphabet.characters)
    sized = dataclasses.replace(config.model, num_symbols=symbols)
    with invalid_settings("model"):
        model = Handwriting(sized, rngs=nnx.Rngs(params=config.seed))
        rebuild, params = with_posterior(config.weight_noise, *split(model))
    return Writer(rebuild, sized, statistics, alphabet), params


def learn_alphabet(config: Config, lines: list[Line]) -> Alphabet | None:
    """Numbers the characters of the training data, if the model is to read texts.

    Raises:
      UserError: if it is, and there are none.
    """
    if not config.with_text:
        return None
    if not all(line.text for line in lines):
        raise UserError(
            "with_text: expected False for strokes without a text, got True (pass "
            "--no-with-text to predict them)"
        )
    return Alphabet(config.data.characters(lines))
