"""Layers of a recurrent cell in both directions, forward and backward."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from attnjax.cells.initializers import Initializers
from attnjax.cells.recurrent import RecurrentCell, Tree, init_layers
from attnjax.cells.scan import bidirectional
from attnjax.core.dropout import dropout


class Bidirectional(NamedTuple):
    """Parameters of one bidirectional layer."""

    forward: Tree
    backward: Tree


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
