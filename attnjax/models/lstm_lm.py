"""Deep LSTM as a language model: its state carries a text of any length.

Graves 2013 (arXiv:1308.0850), sections 2 and 3: recurrent layers that all see the input
and that the output layer sees all. It is the rival without attention: what it knows of
the words before is one vector for each layer.
"""

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import (
    RECURRENT_CELLS,
    Layers,
    RecurrentCell,
    clipped_peephole_lstm,
)
from attnjax.cells.skip_layers import (
    Projected,
    SkipLayers,
    init_skip_layers,
    project_skips,
    scan_skip_layers,
    step_skip_layers,
)
from attnjax.core.dropout import dropout
from attnjax.models._checks import (
    check_choices,
    check_num_layers,
    check_positive,
    check_tokens,
)
from attnjax.models._methods import batched
from attnjax.models._parts import OutputLayer, Params, embed, split_rng


@dataclasses.dataclass(frozen=True, kw_only=True)
class LSTMLMConfig:
    """Sizes of a deep LSTM that predicts tokens; the defaults are the paper's words."""

    vocab_size: int = 10_000
    """Number of token ids; a run sets it to its tokeniser's."""
    embed_dim: int | None = None
    """Width of an embedding of the tokens; None: each layer has a row of its own for
    every token (one-hot input, as in the paper)."""
    cell: Literal["gru", "lstm", "peephole_lstm"] = "peephole_lstm"
    """Recurrent cell of every layer."""
    hidden_dim: int = 1_000
    """Width of every layer."""
    num_layers: int = 1
    """Number of layers; the input enters each of them, and the output layer takes the
    states of all."""
    gradient_limit: float | None = 1.0
    """Largest absolute value of the derivative of the loss by what enters a gate, at
    every step (peephole_lstm); None clips none."""
    dropout: float = 0.0
    """Share of what enters a layer, and of what enters the output layer, that is
    dropped; never on the way from step to step."""
    max_length: int = 100
    """Number of tokens of a segment: the state is carried from segment to segment, the
    gradient is not (truncated backpropagation through time)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class LSTMLM(nnx.Module):
    """A language model: the probability of every next token.

    The methods are those of `GPT`; what is carried from token to token are the states
    of the layers, of one size whatever the length of the text.
    """

    def __init__(self, config: LSTMLMConfig, *, rngs: nnx.Rngs) -> None:
        _check(config)
        self.config = config
        V, D, L = config.vocab_size, config.hidden_dim, config.num_layers
        init = initializers("glorot")
        if config.embed_dim is not None:
            table = init.embedding(rngs.params(), (V, config.embed_dim))
            self.embedding = nnx.Param(table)
        width = V if config.embed_dim is None else config.embed_dim
        stack = init_skip_layers(rngs.params, width, D, L, self._cell, init)
        self.stack = Params(stack)
        self.w_output = nnx.Param(init.kernel(rngs.params(), (V, L * D)))
        self.b_output = nnx.Param(jnp.zeros(V))

    @batched
    def __call__(
        self, tokens: Array, *, rng: Array | None = None
    ) -> tuple[Array, None]:
        """Predicts the token after each token of whole texts.

        Args:
          tokens: ids, shape [B, T].
          rng: random key for dropout; None means no dropout.

        Returns:
          Logits of the next token, [B, T, V], in at least float32, and None: there are
          no attention weights.

        Raises:
          ValueError: if a known id is outside the vocabulary.
        """
        return self.output.logits(self.features(tokens, rng=rng)[0]), None

    @batched
    def features(
        self, tokens: Array, *, rng: Array | None = None
    ) -> tuple[Array, None]:
        """Computes what the output layer takes, [B, T, L*D]; no attention weights.

        The arguments are those of the call. With `output`, a loss is computed without
        all logits in memory at once: `attnjax.linear_cross_entropy`.
        """
        return self.segment(self.start(len(tokens)), tokens, rng=rng)[1], None

    @property
    def output(self) -> OutputLayer:
        """The output matrix [V, L*D] and the bias [V]."""
        dtype = self.config.dtype
        return OutputLayer(
            self.w_output[...].astype(dtype), self.b_output[...].astype(dtype)
        )

    def start(self, batch_size: int) -> Layers:
        """Returns the carry of `batch_size` rows before the first token: zeros."""
        zeros = jnp.zeros((batch_size, self.config.hidden_dim), self.config.dtype)
        return (self._cell.initial_carry(zeros),) * self.config.num_layers

    @batched
    def segment(
        self,
        carry: Layers,
        tokens: Array,
        mask: Array | None = None,
        *,
        rng: Array | None = None,
    ) -> tuple[Layers, Array]:
        """Reads a segment of each row's text.

        Args:
          carry: what `start`, `segment`, `prefill` or `step` returned.
          tokens: ids, shape [B, T].
          mask: True = a token, False = padding, on either side; shape [B, T].
          rng: random key for dropout; None means no dropout.

        Returns:
          The new carry, and what the output layer takes at each token, [B, T, L*D]; 0
          at padding.

        Raises:
          ValueError: if a known id is outside the vocabulary.
        """
        check_tokens("tokens", tokens, "BT", self.config.vocab_size, mask)
        rate, stack = self.config.dropout, self.stack(self.config.dtype)
        below, *between, above = split_rng(rng, self.config.num_layers + 1)
        carry, states = scan_skip_layers(
            self._cell,
            stack,
            carry,
            self._project(stack, tokens, below),
            mask=mask,
            rngs=between,
            dropout_rate=rate,
        )
        return carry, dropout(above, states, rate=rate)

    @batched
    def prefill(
        self, carry: Layers, tokens: Array, mask: Array | None = None
    ) -> tuple[Layers, Array]:
        """Processes several tokens at once.

        Args:
          carry: as of `segment`.
          tokens: ids, shape [B, T], of any length.
          mask: as of `segment`. Logits at padding mean nothing.

        Returns:
          The new carry, and the logits of the token after each, [B, T, V].

        Raises:
          ValueError: if a known id is outside the vocabulary.
        """
        carry, states = self.segment(carry, tokens, mask)
        return carry, self.output.logits(states)

    @batched
    def step(self, carry: Layers, token: Array) -> tuple[Layers, Array, Array]:
        """Processes one token a row: a step for `attnjax.decode`.

        Args:
          carry: as of `segment`.
          token: ids, shape [B].

        Returns:
          The new carry, logits [B, V], and weights [B, 1] of 0: there is no attention.
        """
        check_tokens("token", token, "B", self.config.vocab_size)
        stack = self.stack(self.config.dtype)
        inputs = self._project(stack, token, None)
        advance = partial(step_skip_layers, self._cell, stack)
        carry, states = jax.vmap(advance)(carry, inputs)
        return carry, self.output.logits(states), jnp.zeros((len(token), 1))

    @property
    def _cell(self) -> RecurrentCell:
        if self.config.gradient_limit is None:
            return RECURRENT_CELLS[self.config.cell]
        return clipped_peephole_lstm(self.config.gradient_limit)

    def _project(
        self, stack: SkipLayers, tokens: Array, rng: Array | None
    ) -> Projected:
        """What enters the gates of each layer from ids [...]: [..., num_gates*D]."""
        if self.config.embed_dim is not None:
            x = embed(self.embedding, tokens, self.config.dtype)
            x = dropout(rng, x, rate=self.config.dropout)
            return project_skips(self._cell, stack, x)
        # The product of a one-hot vector with a matrix is a row of it.
        bottom = stack.layers[0]
        return (
            bottom.w[tokens] + bottom.b,
            *(w[tokens] for w in stack.w_skip),
        )


def _check(config: LSTMLMConfig) -> None:
    check_num_layers(config.num_layers)
    check_positive(config, "vocab_size", "hidden_dim", "max_length")
    check_choices(config, "cell")
    if config.embed_dim is not None:
        check_positive(config, "embed_dim")
    limit = config.gradient_limit
    if limit is None:
        return
    if config.cell != "peephole_lstm":
        raise ValueError(
            f"gradient_limit: expected None with {config.cell}, got {limit} (only "
            "peephole_lstm clips its derivatives)"
        )
    if not limit > 0:
        raise ValueError(f"gradient_limit: expected more than 0, got {limit}")
