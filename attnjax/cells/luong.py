"""The decoder that recurs first: update the state, then attend with it."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.cells.lstm import LSTMParams, LSTMState, lstm_recur
from attnjax.core import precision, scores
from attnjax.core._checks import shaped
from attnjax.core.attend import Memory, Score, attend


class LuongParams(NamedTuple):
    """Weights of the decoder."""

    lstm: LSTMParams
    w_feed: Float[Array, "D 4*D"]  # input feeding: from the last attentional state
    w_attentional: Float[Array, "E+D D"]  # W_c; its first E rows meet the context


class LuongState(NamedTuple):
    """What the decoder passes on."""

    lstm: LSTMState
    attentional: Float[Array, "D"]  # h~ of the last step


class LuongReadout(NamedTuple):
    """What one step offers to the output layer."""

    attentional: Float[Array, "D"]
    weights: Float[Array, "S"]


@shaped
def luong(
    params: LuongParams,
    carry: LuongState,
    inputs: Float[Array, "4*D"],
    *,
    memory: Memory,
    score: Score = scores.dot,
) -> tuple[LuongState, LuongReadout]:
    r"""Advances the decoder by one target position.

    .. math::
        h_t = \mathrm{LSTM}(h_{t-1}, [y_{t-1}; \tilde h_{t-1}]), \qquad
        \tilde h_t = \tanh(W_c [c_t; h_t])

    Source: Luong, Pham & Manning 2015 (arXiv:1508.04025), section 3 and eq. 5;
    input feeding: section 3.3.

    Args:
      params: the cell's weights.
      carry: the LSTM's state and the last attentional state, shapes [D].
      inputs: `lstm_inputs` of the embedding of y_{t-1}, shape [4*D].
      memory: keys, values and mask of one sentence.
      score: maps the new state and the keys to scores.

    Returns:
      The new carry, and what the output layer reads.

    Raises:
      ValueError: if a shape disagrees with the weights.
    """
    fed = precision.matmul(carry.attentional, params.w_feed)
    state, hidden = lstm_recur(params.lstm, carry.lstm, inputs + fed)
    read = attend(hidden, *memory, score=score)
    both = jnp.concatenate([read.context, hidden])
    attentional = jnp.tanh(precision.matmul(both, params.w_attentional))
    return LuongState(state, attentional), LuongReadout(attentional, read.weights)
