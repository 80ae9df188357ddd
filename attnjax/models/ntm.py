"""The Neural Turing Machine: attention that also writes.

Graves, Wayne & Danihelka 2014 (arXiv:1410.5401): a controller, recurrent or not, with
heads that read from a tape and heads that write to it. It maps a sequence of vectors
to logits of bits at each step.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.aligners.addressing import (
    CLIP,
    addressing_width,
    init_heads,
)
from attnjax.cells.initializers import Initializers, initializers
from attnjax.cells.ntm import CONTROLLERS, NTMOutput, NTMParams, NTMState, ntm
from attnjax.cells.recurrent import Layers, RecurrentCell, init_layers
from attnjax.cells.scan import scan
from attnjax.core.weights import masked_softmax
from attnjax.models._checks import (
    check_choices,
    check_num_layers,
    check_positive,
    check_vectors,
)
from attnjax.models._methods import batched
from attnjax.models._parts import Params, VectorOutput, repeat_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class NTMConfig:
    """Sizes of a Neural Turing Machine; the defaults are the paper's for copying."""

    input_dim: int = 9
    """Width of an input vector."""
    output_dim: int = 8
    """Number of bits that are predicted at each step."""
    controller: Literal["lstm", "gru", "feed-forward"] = "lstm"
    """Cell of the controller's layers; feed-forward keeps no state outside the tape."""
    hidden_dim: int = 100
    """Width of the controller's layers."""
    num_layers: int = 1
    """Number of the controller's layers."""
    num_read_heads: int = 1
    """Number of heads that read (the paper's table counts pairs of heads)."""
    num_write_heads: int = 1
    """Number of heads that write."""
    tape_size: int = 128
    """Number of rows of the tape (the paper's N)."""
    tape_width: int = 20
    """Width of a row of the tape (the paper's M)."""
    max_shift: int = 1
    """Farthest step of a head along the tape, either way."""
    tape_init: Literal["constant", "learned"] = "constant"
    """Tape at the start: a constant 1e-6 (Collier & Beel 2018), or learned as in the
    paper."""
    start_weights: Literal["first-row", "spread"] = "first-row"
    """Weights of every head at the start, before they are trained: nearly all on the
    first row, or nearly alike on all rows. From the first row a head that only shifts
    finds again what was written."""
    strength_bias: float = 0.0
    """Bias of each head's key strength at the start, before the softplus, 0 to 20: from
    0, heads address by content nearly alike on all rows; from 5, mostly rows that
    resemble the key, for tasks that look up what was written."""
    init: Literal["paper", "glorot"] = "glorot"
    """Initial parameters: small normal ones, or Glorot uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class NTM(nnx.Module):
    """Controller, heads and tape, and an output layer over the controller and reads.

    Before each sequence the controller's state, what was read last, and every head's
    weights are set to learned values; the weights are a softmax, so that they sum to 1
    from the start.
    """

    def __init__(self, config: NTMConfig, *, rngs: nnx.Rngs) -> None:
        _check(config)
        self.config = config
        cell, init, rng = self._cell, initializers(config.init), rngs.params
        D, M = config.hidden_dim, config.tape_width
        H, W = config.num_read_heads, config.num_write_heads
        P = addressing_width(M, config.max_shift)
        heads = partial(init_heads, tape_width=M, strength_bias=config.strength_bias)
        widths = (config.input_dim, *[D] * (config.num_layers - 1))
        self.machine = Params(
            NTMParams(
                layers=init_layers(rng, widths, D, cell, init),
                w_reads=init.kernel(rng(), (H * M, cell.num_gates * D)),
                read_heads=heads(rng(), D, (H, P), init),
                write_heads=heads(rng(), D, (W, P + 2 * M), init),
            )
        )
        self.first = Params(self._init_first(rng, init))
        self.output = VectorOutput(D + H * M, config.output_dim, init, rngs=rngs)

    def _init_first(self, rng: Any, init: Initializers) -> NTMState:
        """Draws what the carry is made of before the first step."""
        config = self.config
        N, M = config.tape_size, config.tape_width
        hidden = jnp.zeros(config.hidden_dim)
        learned = config.tape_init == "learned"
        focus = jnp.zeros((1, N))
        if config.start_weights == "first-row":
            # Of 128 rows the first gets 96 %.
            focus = focus.at[:, 0].set(8)
        # Scores of 0 would never change: all rows of the tape would stay alike.
        return NTMState(
            layers=tuple([self._cell.initial_carry(hidden)] * config.num_layers),
            tape=init.embedding(rng(), (M, N)) if learned else None,  # type: ignore
            read_weights=focus + init.embedding(rng(), (config.num_read_heads, N)),
            write_weights=focus + init.embedding(rng(), (config.num_write_heads, N)),
            reads=jnp.zeros((config.num_read_heads, M)),
        )

    def start(self, batch_size: int) -> NTMState:
        """Returns the carry before the first step, leaves [B, ...]."""
        config = self.config
        first = self.first(config.dtype)
        tape = first.tape
        if tape is None:
            shape = (config.tape_width, config.tape_size)
            tape = jnp.full(shape, 1e-6, config.dtype)
        softmax = jax.vmap(masked_softmax)
        first = first._replace(
            tape=tape,
            read_weights=softmax(first.read_weights).astype(config.dtype),
            write_weights=softmax(first.write_weights).astype(config.dtype),
        )
        return repeat_rows(first, batch_size)

    @batched
    def step(self, carry: NTMState, x: Array) -> tuple[NTMState, Array, NTMOutput]:
        """Takes one input of each row.

        Args:
          carry: the result of `start` or of the last step.
          x: inputs, shape [B, input_dim].

        Returns:
          The new carry, logits of the bits [B, output_dim], and what the heads did,
          leaves [B, ...].

        Raises:
          ValueError: if `x` has another shape.
        """
        check_vectors(x, "B", self.config.input_dim)
        params = self.machine(self.config.dtype)
        inputs = self._project(params.layers, x)
        carry, out = jax.vmap(partial(self._machine, params))(carry, inputs)
        return carry, self._logits(out), out

    @batched
    def __call__(self, x: Array) -> tuple[Array, NTMOutput]:
        """Takes whole sequences, from the start.

        Args:
          x: inputs, shape [B, T, input_dim]; what follows the end of a sequence has no
            effect on the steps before it.

        Returns:
          Logits of the bits at each step [B, T, output_dim], in at least float32, and
          what the heads did, leaves [B, T, ...].

        Raises:
          ValueError: if `x` has another shape.
        """
        check_vectors(x, "BT", self.config.input_dim)
        params = self.machine(self.config.dtype)
        inputs = self._project(params.layers, x)
        carry = self.start(x.shape[0])
        _, out = scan(self._machine, params, carry, inputs)
        return self._logits(out), out

    @property
    def _cell(self) -> RecurrentCell:
        return CONTROLLERS[self.config.controller]

    @property
    def _machine(self) -> Any:
        return partial(ntm, cell=self._cell)

    def _project(self, layers: Layers, x: Array) -> Array:
        return self._cell.project_inputs(layers[0], x.astype(self.config.dtype))

    def _logits(self, out: NTMOutput) -> Array:
        # [..., H, M] -> [..., H*M]
        reads = out.reads.reshape(*out.reads.shape[:-2], -1)
        # [..., D], [..., H*M] -> [..., D+H*M]
        return self.output(jnp.concatenate([out.hidden, reads], axis=-1))


def _check(config: NTMConfig) -> None:
    check_num_layers(config.num_layers)
    check_positive(config, "input_dim", "output_dim", "hidden_dim")
    check_positive(config, "num_read_heads", "num_write_heads")
    check_positive(config, "tape_size", "tape_width")
    check_choices(config, "controller", "tape_init", "start_weights", "init")
    if config.max_shift < 0:
        raise ValueError(f"max_shift: expected at least 0, got {config.max_shift}")
    if not 0 <= config.strength_bias <= CLIP:
        raise ValueError(
            f"strength_bias: expected 0 to {CLIP:g}, got {config.strength_bias} "
            "(what heads emit is clipped there)"
        )
