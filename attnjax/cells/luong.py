"""The decoder cell of Luong et al.: recur, then attend with the new state."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.cells.recurrent import LSTM, Layers, RecurrentCell, step_layers
from attnjax.core import precision, scores
from attnjax.core._checks import shaped
from attnjax.core.attend import Memory, Score, attend


class LuongParams(NamedTuple):
    """Parameters of the decoder cell."""

    layers: Layers  # of the recurrent cell, the bottom layer first
    w_feed: Float[Array, "D GD"]  # input feeding: from the last attentional state
    w_attentional: Float[Array, "E+D D"]  # W_c; its first E rows multiply the context


class LuongState(NamedTuple):
    """The carry of the decoder cell."""

    layers: Layers  # carries of the recurrent cell, the bottom layer first
    attentional: Float[Array, "D"]  # h~ of the last step


class LuongOutput(NamedTuple):
    """The output of the decoder cell at one target position."""

    attentional: Float[Array, "D"]
    weights: Float[Array, "S"]


@shaped
def luong(
    params: LuongParams,
    carry: LuongState,
    inputs: Float[Array, "GD"],
    *,
    memory: Memory,
    score: Score = scores.dot,
    cell: RecurrentCell = LSTM,
) -> tuple[LuongState, LuongOutput]:
    r"""Advances the decoder by one target position.

    .. math::
        h_t = \mathrm{LSTM}(h_{t-1}, [y_{t-1}; \tilde h_{t-1}]), \qquad
        \tilde h_t = \tanh(W_c [c_t; h_t])

    With several layers, the bottom layer is fed and the top layer's h_t is the query.

    Source: Luong, Pham & Manning 2015 (arXiv:1508.04025), section 3 and eq. 5;
    input feeding: section 3.3.

    Args:
      params: the cell's parameters.
      carry: the carries of all layers, and the last attentional state, shape [D].
      inputs: the recurrent cell's `project_inputs` of the embedding of y_{t-1} with
        the bottom layer's parameters: G gates of width D, shape [G*D].
      memory: keys, values and mask of one source.
      score: maps the new state and the keys to scores.
      cell: the recurrent cell of every layer.

    Returns:
      The new carry, and what the output layer takes.

    Raises:
      ValueError: if a shape disagrees with the parameters.
    """
    fed = precision.matmul(carry.attentional, params.w_feed)
    layers, hidden = step_layers(cell, params.layers, carry.layers, inputs + fed)
    attended = attend(hidden, memory.keys, memory.values, mask=memory.mask, score=score)
    both = jnp.concatenate([attended.context, hidden])  # [E], [D] -> [E+D]
    attentional = jnp.tanh(precision.matmul(both, params.w_attentional))
    return LuongState(layers, attentional), LuongOutput(attentional, attended.weights)
