"""A memory network with its vocabulary, as pure functions of parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core.attend import Weighting
from attnjax.core.losses import token_cross_entropy
from attnjax.core.weights import unnormalised
from attnjax.models.memn2n import (
    MemN2N,
    MemN2NConfig,
)
from attnjax.models.memory_network import MemoryNetwork, MemoryNetworkConfig
from attnjax.models.state import split
from attnjax.train import Loss, Params
from experiments.babi.config import Config, ModelConfig
from experiments.cli.exit_codes import invalid_settings
from experiments.datasets.stories.vocabulary import Vocabulary

Batch = dict[str, Array]


class Answers(NamedTuple):
    """What a model says to B questions."""

    answers: Array  # ids, [B]
    weights: Array  # of each hop, [B, K, S]


class QuestionAnswerer(NamedTuple):
    """A model and its vocabulary; every method takes the parameters.

    Attributes:
      rebuild: makes the model of a tree of parameters.
      vocabulary: maps words and answers to ids and back.
      config: the model's settings, with the size of the vocabulary.
    """

    rebuild: Callable[[Params], Any]
    vocabulary: Vocabulary
    config: ModelConfig

    def loss(self, params: Params, batch: Batch, rng: Array | None = None) -> Loss:
        """The loss of a batch, summed; and its number of questions.

        Args:
          params: the model's parameters.
          batch: "facts", "question", "answer" and "supports" of
            `stories.arrays.QuestionArrays.batch`, and "linear": whether hops have no
            softmax, bool [B], the same for all.
          rng: random key for empty slots; None adds none.
        """
        model = self.rebuild(params)
        stories = batch["facts"], batch["question"]
        count = jnp.asarray(len(batch["answer"]))
        if isinstance(self.config, MemoryNetworkConfig):
            supports = repeat_last(batch["supports"], self.config.num_hops)
            return Loss(model.losses(*stories, supports, batch["answer"]).sum(), count)
        weighting = _linear_at_first(jnp.all(batch["linear"]), model.weighting)
        logits, _ = model(*stories, rng=rng, weighting=weighting)
        return Loss(token_cross_entropy(logits, batch["answer"]).sum(), count)

    def answer(self, params: Params, batch: Batch) -> Answers:
        """Answers questions, each hop given what the last one found.

        Args:
          params: the model's parameters.
          batch: "facts" and "question".
        """
        ranks, weights = self.rebuild(params)(batch["facts"], batch["question"])
        return Answers(jnp.argmax(ranks, axis=-1), weights)


def _linear_at_first(linear: Array, normalised: Weighting) -> Weighting:
    """Softmax, or no normalisation while the training begins: a linear start."""

    def weigh(scores: Array, mask: Array | None) -> Array:
        return jnp.where(linear, unnormalised(scores, mask), normalised(scores, mask))

    return weigh


def repeat_last(supports: Array, num_hops: int) -> Array:
    """Gives each question as many supporting facts as there are hops.

    A question with fewer facts repeats its last one; one with more keeps the first.

    Args:
      supports: indices, negative at padding, shape [B, K'].
      num_hops: K.

    Returns:
      Shape [B, K]; negative where a question names no fact.

    Example:
      >>> repeat_last(jnp.array([[3, -1], [1, 2]]), 2).tolist()
      [[3, 3], [1, 2]]
    """
    count = jnp.sum(supports >= 0, axis=-1, dtype=jnp.int32)
    at = jnp.arange(num_hops, dtype=jnp.int32)
    at = jnp.clip(jnp.minimum(at, count[:, None] - 1), 0)  # [B] -> [B, K]
    return jnp.take_along_axis(supports, at, axis=-1)


def build_model(
    config: Config, vocabulary: Vocabulary
) -> tuple[QuestionAnswerer, Params]:
    """Builds the model of a config, and its initial parameters.

    Raises:
      UserError: if the model's settings do not fit together.
    """
    sized: Any = dataclasses.replace(config.model, vocab_size=len(vocabulary))
    rngs = nnx.Rngs(params=config.seed)
    with invalid_settings("model"):
        model: Any
        if isinstance(sized, MemN2NConfig):
            model = MemN2N(sized, rngs=rngs)
        else:
            model = MemoryNetwork(sized, rngs=rngs)
    rebuild, params = split(model)
    return QuestionAnswerer(rebuild, vocabulary, sized), params
