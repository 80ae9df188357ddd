"""A recurrent cell as a value, and layers of it.

Models take a `RecurrentCell`, so that a GRU and an LSTM, one layer or several, are
settings. `RECURRENT_CELLS` is the table; add a row. A stack's parameters and carries
are tuples with one entry for each layer, the bottom layer first.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from attnjax.cells.feed_forward import (
    feed_forward,
    feed_forward_inputs,
    init_feed_forward,
)
from attnjax.cells.gru import gru_inputs, gru_recur, init_gru
from attnjax.cells.initializers import Initializers
from attnjax.cells.lstm import LSTMState, init_lstm, lstm_inputs, lstm_recur
from attnjax.cells.peephole_lstm import (
    init_peephole_lstm,
    peephole_lstm_inputs,
    peephole_lstm_recur,
)
from attnjax.cells.scan import scan
from attnjax.core.dropout import dropout

Tree = Any
Layers = tuple[Tree, ...]  # one entry for each layer, the bottom layer first


class RecurrentCell(NamedTuple):
    """The functions and the one size that make a recurrent cell.

    What does not depend on the carry is apart (`project_inputs`), so that a sequence
    is projected in one matmul before the scan. What else enters the gates, such as a
    context, is added to the projected inputs.

    Example:
      >>> import jax
      >>> from attnjax.cells.initializers import initializers
      >>> params = LSTM.init(jax.random.key(0), 3, 2, initializers("glorot"))
      >>> inputs = LSTM.project_inputs(params, jnp.ones((5, 3)))  # [T, M] -> [T, 4*D]
      >>> carry, hidden = LSTM.step(params, LSTM.initial_carry(jnp.zeros(2)), inputs[0])
      >>> inputs.shape, hidden.shape
      ((5, 8), (2,))
    """

    num_gates: int
    """Blocks of width D that the projected inputs have, side by side."""
    init: Callable[[Array, int, int, Initializers], Tree]
    """Draws parameters for inputs of width M: (rng, M, D, initializers) -> params."""
    project_inputs: Callable[[Tree, Array], Array]
    """Projects the inputs: (params, x [..., M]) -> inputs [..., num_gates*D]."""
    step: Callable[[Tree, Tree, Array], tuple[Tree, Array]]
    """Steps one row: (params, carry, inputs [num_gates*D]) -> (carry, hidden [D])."""
    initial_carry: Callable[[Array], Tree]
    """Makes the carry that holds hidden states [..., D]; all else in it is 0."""
    hidden: Callable[[Tree], Array]
    """Returns the hidden states of a carry, [..., D]."""


GRU = RecurrentCell(
    num_gates=3,
    init=init_gru,
    project_inputs=gru_inputs,
    step=gru_recur,
    initial_carry=lambda hidden: hidden,
    hidden=lambda carry: carry,
)
LSTM = RecurrentCell(
    num_gates=4,
    init=init_lstm,
    project_inputs=lstm_inputs,
    step=lstm_recur,
    initial_carry=lambda hidden: LSTMState(hidden, jnp.zeros_like(hidden)),
    hidden=lambda carry: carry.hidden,
)
PEEPHOLE_LSTM = LSTM._replace(
    init=init_peephole_lstm,
    project_inputs=peephole_lstm_inputs,
    step=peephole_lstm_recur,
)
# Not in the table: a controller may do without a state, a decoder may not.
FEED_FORWARD = RecurrentCell(
    num_gates=1,
    init=init_feed_forward,
    project_inputs=feed_forward_inputs,
    step=feed_forward,
    initial_carry=lambda hidden: hidden,
    hidden=lambda carry: carry,
)

RECURRENT_CELLS: dict[str, RecurrentCell] = {
    "gru": GRU,
    "lstm": LSTM,
    "peephole_lstm": PEEPHOLE_LSTM,
}


def clipped_peephole_lstm(gradient_limit: float | None) -> RecurrentCell:
    """Returns the LSTM with peepholes that clips its derivatives.

    Args:
      gradient_limit: as of `peephole_lstm_recur`; None clips nothing.
    """
    step = partial(peephole_lstm_recur, gradient_limit=gradient_limit)
    return PEEPHOLE_LSTM._replace(step=step)


def init_layers(
    rngs: Callable[[], Array],
    widths: Sequence[int],
    D: int,
    cell: RecurrentCell,
    initializers: Initializers,
) -> Layers:
    """Draws the parameters of a stack.

    Args:
      rngs: gives a new random key at each call, as `nnx.Rngs(0).params` does.
      widths: width of each layer's input, the bottom layer first.
      D: width of the hidden state, the same for all layers.
      cell: the recurrent cell of every layer.
      initializers: how each role is initialised.

    Returns:
      The parameters of each layer.
    """
    return tuple(cell.init(rngs(), M, D, initializers) for M in widths)


def step_layers(
    cell: RecurrentCell, params: Layers, carry: Layers, inputs: Array
) -> tuple[Layers, Array]:
    """Advances a stack by one time step.

    Each layer takes the new hidden state of the layer below. A stack is itself a cell:
    `partial(step_layers, cell)` has the signature that `scan` takes.

    Source: Graves 2013 (arXiv:1308.0850), section 2.

    Args:
      cell: the recurrent cell of every layer.
      params: its parameters for each layer.
      carry: its carry for each layer.
      inputs: projected inputs of the bottom layer, shape [num_gates*D].

    Returns:
      The new carries, and the hidden state of the top layer, shape [D].

    Raises:
      ValueError: if a shape disagrees with the parameters.
    """
    carries, states = step_every_layer(cell, params, carry, inputs)
    return carries, states[-1]


def step_every_layer(
    cell: RecurrentCell,
    params: Layers,
    carry: Layers,
    inputs: Array,
    *,
    skips: Sequence[Array] = (),
) -> tuple[Layers, list[Array]]:
    """Advances a stack by one time step, and returns the states of all its layers.

    Arguments are those of `step_layers`; `skips` is added to the projected inputs of
    the layers above the bottom one, one array [num_gates*D] for each, or none.
    """
    bottom, hidden = cell.step(params[0], carry[0], inputs)
    carries, states = [bottom], [hidden]
    for layer in range(1, len(params)):
        inputs = cell.project_inputs(params[layer], states[-1])
        if skips:
            inputs = inputs + skips[layer - 1]
        new, hidden = cell.step(params[layer], carry[layer], inputs)
        carries.append(new)
        states.append(hidden)
    return tuple(carries), states


def scan_layers(
    cell: RecurrentCell,
    params: Layers,
    carry: Layers,
    inputs: Array,
    *,
    mask: Array | None = None,
    reverse: bool = False,
    rngs: Sequence[Array | None] = (),
    dropout_rate: float = 0.0,
) -> tuple[Layers, Array]:
    """Runs a stack over the steps of a batch of sequences, one layer after another.

    The numbers are those of `scan` of `step_layers`; here each layer's inputs are
    projected for all steps in one matmul.

    Args:
      cell: the recurrent cell of every layer.
      params: its parameters for each layer.
      carry: its carry before the first step for each layer, leaves [B, ...].
      inputs: projected inputs of the bottom layer, shape [B, T, num_gates*D].
      mask: True = a real step, shape [B, T]; None means all are.
      reverse: go from the last step to the first, in every layer.
      rngs: random keys of the dropout between layers, one fewer than layers; empty
        means no dropout.
      dropout_rate: share of the states between two layers that is dropped (Zaremba
        et al. 2014, arXiv:1409.2329: never on the way from step to step).

    Returns:
      The final carries, and the hidden states of the top layer, shape [B, T, D].

    Raises:
      ValueError: as `scan`.
    """
    carries, states = scan_every_layer(
        cell,
        params,
        carry,
        inputs,
        mask=mask,
        reverse=reverse,
        rngs=rngs,
        dropout_rate=dropout_rate,
    )
    return carries, states[-1]


def scan_every_layer(
    cell: RecurrentCell,
    params: Layers,
    carry: Layers,
    inputs: Array,
    *,
    skips: Sequence[Array] = (),
    mask: Array | None = None,
    reverse: bool = False,
    rngs: Sequence[Array | None] = (),
    dropout_rate: float = 0.0,
) -> tuple[Layers, list[Array]]:
    """Runs a stack over a batch of sequences, and returns the states of all its layers.

    Arguments are those of `scan_layers`; `skips` is added to the projected inputs of
    the layers above the bottom one, one array [B, T, num_gates*D] for each, or none.
    """
    options: Any = {"mask": mask, "reverse": reverse}
    bottom, hidden = scan(cell.step, params[0], carry[0], inputs, **options)
    carries, states = [bottom], [hidden]
    for layer in range(1, len(params)):
        below = states[-1]
        if rngs:
            below = dropout(rngs[layer - 1], below, rate=dropout_rate)
        inputs = cell.project_inputs(params[layer], below)
        if skips:
            inputs = inputs + skips[layer - 1]
        last, hidden = scan(cell.step, params[layer], carry[layer], inputs, **options)
        carries.append(last)
        states.append(hidden)
    return tuple(carries), states
