"""A recurrent cell as a value, and layers of it.

Models take a `RecurrentCell`, so that a GRU and an LSTM, one layer or several, are
settings. `RECURRENT_CELLS` is the table; add a row. A stack's parameters and carries
are tuples with one entry for each layer, the bottom layer first.
"""

from collections.abc import Callable, Sequence
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
from attnjax.cells.scan import bidirectional, scan
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
# Not in the table: a controller may do without a state, a decoder may not.
FEED_FORWARD = RecurrentCell(
    num_gates=1,
    init=init_feed_forward,
    project_inputs=feed_forward_inputs,
    step=feed_forward,
    initial_carry=lambda hidden: hidden,
    hidden=lambda carry: carry,
)

RECURRENT_CELLS: dict[str, RecurrentCell] = {"gru": GRU, "lstm": LSTM}


class Bidirectional(NamedTuple):
    """Parameters of one bidirectional layer."""

    forward: Tree
    backward: Tree


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


def init_bidirectional_layers(
    rngs: Callable[[], Array],
    M: int,
    D: int,
    num_layers: int,
    cell: RecurrentCell,
    initializers: Initializers,
) -> tuple[Bidirectional, ...]:
    """Draws the parameters of a bidirectional stack for inputs of width M.

    A layer above the bottom one takes both directions of the layer below, 2*D wide.
    Arguments are those of `init_layers`.
    """
    widths = (M, *[2 * D] * (num_layers - 1))
    return tuple(
        Bidirectional(*init_layers(rngs, (width, width), D, cell, initializers))
        for width in widths
    )


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
    bottom, hidden = cell.step(params[0], carry[0], inputs)
    carries = [bottom]
    for layer_params, last in zip(params[1:], carry[1:], strict=True):
        inputs = cell.project_inputs(layer_params, hidden)
        new, hidden = cell.step(layer_params, last, inputs)
        carries.append(new)
    return tuple(carries), hidden


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
    options: Any = {"mask": mask, "reverse": reverse}
    bottom, states = scan(cell.step, params[0], carry[0], inputs, **options)
    carries = [bottom]
    for layer in range(1, len(params)):
        if rngs:
            states = dropout(rngs[layer - 1], states, rate=dropout_rate)
        inputs = cell.project_inputs(params[layer], states)
        last, states = scan(cell.step, params[layer], carry[layer], inputs, **options)
        carries.append(last)
    return tuple(carries), states


def bidirectional_layers(
    cell: RecurrentCell,
    params: Sequence[Bidirectional],
    x: Array,
    *,
    mask: Array | None = None,
    rngs: Sequence[Array | None] = (),
    dropout_rate: float = 0.0,
) -> Array:
    """Runs a bidirectional stack over a batch of sequences, from states of 0.

    Layer l takes the concatenated states of both directions of layer l - 1, so that
    from the second layer on every state has seen the whole sequence.

    Source: Schuster & Paliwal 1997; stacked: Graves, Mohamed & Hinton 2013
    (arXiv:1303.5778), section 3.

    Args:
      cell: the recurrent cell of every layer and direction.
      params: its parameters for each layer.
      x: inputs, shape [B, T, M].
      mask: True = a real step, shape [B, T]; None means all are.
      rngs: as in `scan_layers`.
      dropout_rate: as in `scan_layers`.

    Returns:
      States of the top layer, forward and backward side by side, shape [B, T, 2*D].

    Raises:
      ValueError: as `scan`.
    """
    for layer, directions in enumerate(params):
        if layer > 0 and rngs:
            x = dropout(rngs[layer - 1], x, rate=dropout_rate)
        forward = cell.project_inputs(directions.forward, x)
        backward = cell.project_inputs(directions.backward, x)
        D = forward.shape[-1] // cell.num_gates
        first = cell.initial_carry(jnp.zeros((x.shape[0], D), forward.dtype))
        _, states = bidirectional(
            cell.step,
            (directions.forward, directions.backward),
            (first, first),
            (forward, backward),
            mask=mask,
        )
        x = jnp.concatenate(states, axis=-1)  # 2 x [B, T, D] -> [B, T, 2*D]
    return x
