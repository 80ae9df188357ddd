"""The decoder that searches: attend with the last state, then recur."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.cells.aligners import ADDITIVE, Aligner
from attnjax.cells.gru import GRUParams, gru_recur
from attnjax.core import context as contexts
from attnjax.core import precision
from attnjax.core._checks import shaped
from attnjax.core.attend import Memory


class RNNSearchParams(NamedTuple):
    """Weights of the decoder: its alignment, its reader, its GRU."""

    alignment: Any
    w_context: Float[Array, "E 3*D"]  # C_z, C_r, C
    gru: GRUParams


class RNNSearchState(NamedTuple):
    """What the decoder passes on."""

    hidden: Float[Array, "D"]
    position: Int[Array, ""]  # of the target, in steps from 0


class Readout(NamedTuple):
    """What one step offers to the output layer."""

    hidden: Float[Array, "D"]  # s_{i-1}, the state that asked
    context: Float[Array, "E"]
    weights: Float[Array, "S"]


@shaped
def rnnsearch(
    params: RNNSearchParams,
    carry: RNNSearchState,
    inputs: Float[Array, "3*D"],
    *,
    memory: Memory,
    alignment: Aligner = ADDITIVE,
) -> tuple[RNNSearchState, Readout]:
    r"""Advances the decoder by one target position.

    .. math:: c_i = \sum_j a_{ij} h_j, \qquad s_i = \mathrm{GRU}(s_{i-1}, y_{i-1}, c_i)

    The search is asked by s_{i-1}, and the word y_i is emitted from s_{i-1}, y_{i-1}
    and c_i: the state is updated last.

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A.2.2.

    Args:
      params: the cell's weights.
      carry: s_{i-1}, shape [D], and the target position i.
      inputs: `gru_inputs` of the embedding of y_{i-1}, shape [3*D].
      memory: projected source states, source states and mask of one sentence.
      alignment: how the state finds source positions.

    Returns:
      The carry with s_i, and what the output layer reads.

    Raises:
      ValueError: if a shape disagrees with the weights.
    """
    hidden, position = carry
    weights = alignment.weigh(params.alignment, hidden, position, memory)
    context = contexts.read(weights, memory.values)
    inputs = inputs + precision.matmul(context, params.w_context)
    state, _ = gru_recur(params.gru, hidden, inputs)
    return (
        RNNSearchState(state, position + 1),
        Readout(hidden, context, weights),
    )


def initial_carry(hidden: Float[Array, "*B D"]) -> RNNSearchState:
    """The carry before the first target position."""
    return RNNSearchState(hidden, jnp.zeros(hidden.shape[:-1], jnp.int32))
