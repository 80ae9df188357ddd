"""The interface of models from a source sequence to a target sequence."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.core.losses import linear_cross_entropy
from attnjax.models._methods import batched
from attnjax.models._parts import OutputLayer


class SequenceModel(nnx.Module):
    """The interface of every model from a source sequence to a target sequence.

    `encode` runs the encoder once for each source. `start` and `step` decode one
    token at a time: bound to a memory, `step` is what every decoder of
    `attnjax.decode` takes. The call computes the logits of all positions of a known
    target (teacher forcing) and gives the same numbers as stepping. `cross_entropy` is
    the loss of training, `align` the alignment of a known target.

    A model whose logits are linear in its last hidden layer has `features` and
    `output`, the two halves of the call; one that mixes predictions has not.
    """

    def encode(self, source: Array, mask: Array, rng: Array | None = None) -> Any:
        """Runs the encoder.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding, on either side; shape [B, S].
          rng: random key for dropout; None means no dropout.

        Returns:
          The memory: a tree whose form is the model's own.
        """
        raise NotImplementedError

    def start(self, memory: Any, max_decode_length: int | None = None) -> Any:
        """Returns the decoder's carry before the first target token.

        Args:
          memory: the result of `encode`.
          max_decode_length: the most tokens that will be decoded, where the size of
            the carry depends on it; None leaves it to the model.

        Returns:
          The carry: a tree whose leaves are [B, ...].
        """
        raise NotImplementedError

    def step(self, memory: Any, carry: Any, token: Array) -> tuple[Any, Array, Array]:
        """Decodes one token.

        Args:
          memory: the result of `encode`.
          carry: the result of `start` or of the last step.
          token: ids of the last token, BOS at first, shape [B].

        Returns:
          The new carry, logits of the next token [B, V], and weights [B, S]; a model
          without attention returns weights of 0.
        """
        raise NotImplementedError

    def features(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """Computes the inputs of the output layer: the call without its last product.

        With `output`, a loss can be computed without holding all logits at once:
        `attnjax.linear_cross_entropy`. The arguments are those of the call.

        Returns:
          The inputs of the output layer, [B, T, l], and weights [B, T, S].
        """
        raise NotImplementedError

    def features_and_weights(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        rng: Array | None = None,
        *,
        layer: int | None = None,
        heads: tuple[int, ...] = (),
    ) -> tuple[Array, Array]:
        """Computes `features`, and always the weights; a Transformer has a choice.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding after it, shape [B, S].
          previous: the token before each target position, shape [B, T].
          rng: random key for dropout; None means no dropout.
          layer: decoder layer of a Transformer, from 0; None is the model's own choice.
          heads: heads of that layer, from 0, whose mean is taken; by default all.

        Returns:
          The inputs of the output layer, [B, T, l], and weights [B, T, S].

        Raises:
          ValueError: if the model has no such layer or head, or no choice of them.
        """
        for name, value in (("layer", layer), ("heads", heads)):
            if value not in (None, ()):
                raise ValueError(
                    f"{name}: expected none, got {value} (only a Transformer has "
                    "layers and heads to choose among)"
                )
        return self.features(source, mask, previous, rng)

    @property
    def output(self) -> OutputLayer:
        """The output layer: matrix [V, l] and bias [V]."""
        raise NotImplementedError

    def cross_entropy(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        target: Array,
        target_mask: Array,
        rng: Array | None = None,
        *,
        smoothing: float = 0.0,
    ) -> Array:
        """Sums the cross-entropy of a known target: the loss of training.

        Args:
          source: as of the call.
          mask: as of the call.
          previous: as of the call.
          target: token ids, shape [B, T].
          target_mask: True = a token, False = padding after it, shape [B, T].
          rng: as of the call.
          smoothing: as of `attnjax.token_cross_entropy`.

        Returns:
          Nats, shape [], in at least float32.
        """
        features, _ = self.features(source, mask, previous, rng)
        matrix, bias = self.output
        counts = target_mask.astype(jnp.float32)
        return linear_cross_entropy(
            features, matrix, bias, target, counts, smoothing=smoothing
        )

    def align(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        target: Array,
        target_mask: Array,
    ) -> Array:
        """Computes the alignment of a known target: weights [B, T, S].

        They are the call's, except in a model that learns more of a position from its
        target. The arguments are those of `cross_entropy`.
        """
        return self(source, mask, previous)[1]

    @batched
    def __call__(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """Computes the logits of a known target, all positions at once.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding after it, shape [B, S].
          previous: the token before each target position, shape [B, T].
          rng: random key for dropout; None means no dropout.

        Returns:
          Logits [B, T, V] and weights [B, T, S]; a model without attention returns
          weights of 0.
        """
        features, weights = self.features(source, mask, previous, rng)
        return self.output.logits(features), weights
