"""The decoder cell of RNNSearch: attend with the last state, then recur."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.cells.aligners import ADDITIVE, Aligner
from attnjax.cells.recurrent import GRU, Layers, RecurrentCell, step_layers
from attnjax.core import context as contexts
from attnjax.core import precision
from attnjax.core._checks import shaped
from attnjax.core.attend import Memory


class RNNSearchParams(NamedTuple):
    """Parameters of the decoder cell."""

    aligner: Any
    w_context: Float[Array, "E GD"]  # C_z, C_r, C: from the context to G gates
    layers: Layers  # of the recurrent cell, the bottom layer first


class RNNSearchState(NamedTuple):
    """The carry of the decoder cell."""

    layers: Layers  # carries of the recurrent cell, the bottom layer first
    position: Int[Array, ""]  # of the target, counted from 0
    aligner: Any  # the aligner's carry; () where it has none


class RNNSearchOutput(NamedTuple):
    """The output of the decoder cell at one target position."""

    hidden: Float[Array, "D"]  # s_{i-1} of the top layer, which was the query
    context: Float[Array, "E"]
    weights: Float[Array, "S"]


@shaped
def rnnsearch(
    params: RNNSearchParams,
    carry: RNNSearchState,
    inputs: Float[Array, "GD"],
    *,
    memory: Memory,
    aligner: Aligner = ADDITIVE,
    cell: RecurrentCell = GRU,
) -> tuple[RNNSearchState, RNNSearchOutput]:
    r"""Advances the decoder by one target position.

    .. math::
        a_i = \mathrm{align}(s_{i-1}, h), \qquad c_i = \sum_j a_{ij} h_j, \qquad
        s_i = \mathrm{GRU}(s_{i-1}, y_{i-1}, c_i)

    The query is s_{i-1}, and the output layer predicts y_i from s_{i-1}, y_{i-1} and
    c_i: the state is updated last.

    With several layers, s_{i-1} is the hidden state of the top layer, both as the
    query and for the output layer; the context enters the bottom layer beside
    y_{i-1}, and each layer above takes the hidden state of the layer below. (GNMT, Wu
    et al. 2016, arXiv:1609.08144, takes the query from its bottom layer instead and
    gives the context to all layers.)

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A.2.2.

    Args:
      params: the cell's parameters.
      carry: the states s_{i-1} of all layers, the target position i, and the
        aligner's carry.
      inputs: the recurrent cell's `project_inputs` of the embedding of y_{i-1} with
        the bottom layer's parameters: G gates of width D, shape [G*D].
      memory: keys, values (source states) and mask of one source.
      aligner: makes the weights.
      cell: the recurrent cell of every layer.

    Returns:
      The carry with s_i, and what the output layer takes.

    Raises:
      ValueError: if a shape disagrees with the parameters.
    """
    hidden = cell.hidden(carry.layers[-1])
    aligned, weights = aligner.weigh(
        params.aligner, carry.aligner, hidden, carry.position, memory
    )
    context = contexts.read(weights, memory.values)
    inputs = inputs + precision.matmul(context, params.w_context)
    layers, _ = step_layers(cell, params.layers, carry.layers, inputs)
    return (
        RNNSearchState(layers, carry.position + 1, aligned),
        RNNSearchOutput(hidden, context, weights),
    )


def initial_carry(
    params: RNNSearchParams,
    hidden: Sequence[Float[Array, "D"]],
    memory: Memory,
    *,
    aligner: Aligner = ADDITIVE,
    cell: RecurrentCell = GRU,
) -> RNNSearchState:
    """Returns the carry before the first target position, for one row.

    Args:
      params: the cell's parameters.
      hidden: s_0 of each layer, the bottom layer first, shapes [D].
      memory: keys, values and mask of one source.
      aligner: the aligner of the cell.
      cell: the recurrent cell of every layer.

    Returns:
      The carry at target position 0.

    Example:
      >>> memory = Memory(jnp.ones((2, 5)), jnp.ones((2, 3)), jnp.ones(2, bool))
      >>> params = RNNSearchParams(None, None, (None,))
      >>> initial_carry(params, [jnp.zeros(1)], memory).position.dtype
      dtype('int32')
    """
    return RNNSearchState(
        layers=tuple(map(cell.initial_carry, hidden)),
        position=jnp.zeros((), jnp.int32),
        aligner=aligner.initial_carry(params.aligner, memory),
    )
