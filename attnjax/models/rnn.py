"""A stack of recurrent layers: what a Neural Turing Machine is compared with.

Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), section 4: three layers of LSTM map a
sequence of vectors to logits of bits at each step.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import (
    RECURRENT_CELLS,
    Layers,
    RecurrentCell,
    init_layers,
    scan_layers,
    step_layers,
)
from attnjax.models._checks import check_recurrent, check_vectors
from attnjax.models._methods import batched
from attnjax.models._parts import Params, VectorOutput, repeat_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class RNNConfig:
    """Sizes of a recurrent network; the defaults are the paper's for copying."""

    input_dim: int = 9
    """Width of an input vector."""
    output_dim: int = 8
    """Number of bits that are predicted at each step."""
    cell: Literal["gru", "lstm", "peephole_lstm"] = "lstm"
    """Recurrent cell of every layer."""
    hidden_dim: int = 256
    """Width of every layer."""
    num_layers: int = 3
    """Number of layers."""
    init: Literal["paper", "glorot"] = "glorot"
    """Initial parameters: small normal ones, or Glorot uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class RNN(nnx.Module):
    """Recurrent layers and an output layer; the first carry is learned."""

    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs) -> None:
        check_recurrent(config)
        self.config = config
        D, layers, init = config.hidden_dim, config.num_layers, config.init
        widths = (config.input_dim, *[D] * (layers - 1))
        self.layers = Params(
            init_layers(rngs.params, widths, D, self._cell, initializers(init))
        )
        self.first = Params((self._cell.initial_carry(jnp.zeros(D)),) * layers)
        self.output = VectorOutput(D, config.output_dim, initializers(init), rngs=rngs)

    def start(self, batch_size: int) -> Layers:
        """Returns the carry before the first step, leaves [B, ...]."""
        return repeat_rows(self.first(self.config.dtype), batch_size)

    @batched
    def step(self, carry: Layers, x: Array) -> tuple[Layers, Array, Array]:
        """Takes one input of each row.

        Args:
          carry: the result of `start` or of the last step.
          x: inputs, shape [B, input_dim].

        Returns:
          The new carry, logits of the bits [B, output_dim], and the hidden state of
          the top layer [B, D].

        Raises:
          ValueError: if `x` has another shape.
        """
        check_vectors(x, "B", self.config.input_dim)
        params = self.layers(self.config.dtype)
        inputs = self._project(params, x)
        advance = partial(step_layers, self._cell, params)
        carry, hidden = jax.vmap(advance)(carry, inputs)
        return carry, self.output(hidden), hidden

    @batched
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Takes whole sequences, from the start.

        Args:
          x: inputs, shape [B, T, input_dim].

        Returns:
          Logits of the bits at each step [B, T, output_dim], in at least float32, and
          the hidden states of the top layer [B, T, D].

        Raises:
          ValueError: if `x` has another shape.
        """
        check_vectors(x, "BT", self.config.input_dim)
        params = self.layers(self.config.dtype)
        inputs = self._project(params, x)
        _, states = scan_layers(self._cell, params, self.start(x.shape[0]), inputs)
        return self.output(states), states

    @property
    def _cell(self) -> RecurrentCell:
        return RECURRENT_CELLS[self.config.cell]

    def _project(self, params: Any, x: Array) -> Array:
        return self._cell.project_inputs(params[0], x.astype(self.config.dtype))
