"""Long short-term memory with peepholes: the gates see the cell."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.cells.initializers import Initializers
from attnjax.cells.lstm import LSTMParams, LSTMState, init_lstm, lstm_inputs
from attnjax.core import precision
from attnjax.core._checks import shaped
from attnjax.core.gradients import clip_gradient


class PeepholeLSTMParams(NamedTuple):
    """Parameters of an LSTM with peepholes; gates: input, forget, cell, output.

    The peepholes are the diagonals of the paper's W_ci, W_cf and W_co.
    """

    w: Float[Array, "M 4*D"]
    u: Float[Array, "D 4*D"]
    b: Float[Array, "4*D"]
    w_input: Float[Array, "D"]  # W_ci
    w_forget: Float[Array, "D"]  # W_cf
    w_output: Float[Array, "D"]  # W_co


def init_peephole_lstm(
    rng: Array, M: int, D: int, initializers: Initializers
) -> PeepholeLSTMParams:
    """Draws the parameters of an LSTM with peepholes; the peepholes start at 0.

    All else is that of `init_lstm`.

    Args:
      rng: random key.
      M: width of the input.
      D: width of the state.
      initializers: how each role is initialised.

    Returns:
      The parameters.

    Example:
      >>> from attnjax.cells.initializers import initializers
      >>> params = init_peephole_lstm(jax.random.key(0), 5, 2, initializers("glorot"))
      >>> params.w.shape, params.w_output.shape
      ((5, 8), (2,))
    """
    closed = jnp.zeros((3, D))
    return PeepholeLSTMParams(*init_lstm(rng, M, D, initializers), *closed)


def peephole_lstm_inputs(
    params: PeepholeLSTMParams, x: Float[Array, "... M"]
) -> Float[Array, "... 4*D"]:
    """Projects inputs for `peephole_lstm_recur`, as `lstm_inputs` does.

    Args:
      params: the cell's parameters.
      x: inputs, shape [..., M].

    Returns:
      Contributions to input, forget, cell and output gates, shape [..., 4*D].
    """
    return lstm_inputs(LSTMParams(params.w, params.u, params.b), x)


@shaped
def peephole_lstm_recur(
    params: PeepholeLSTMParams,
    carry: LSTMState,
    inputs: Float[Array, "4*D"],
    *,
    gradient_limit: float | None = None,
) -> tuple[LSTMState, Float[Array, "D"]]:
    r"""Advances the state by one step of projected input.

    .. math::
        i &= \sigma(W_{xi} x + W_{hi} h + W_{ci} c + b_i) \\
        f &= \sigma(W_{xf} x + W_{hf} h + W_{cf} c + b_f) \\
        c' &= f \circ c + i \circ \tanh(W_{xc} x + W_{hc} h + b_c) \\
        o &= \sigma(W_{xo} x + W_{ho} h + W_{co} c' + b_o) \\
        h' &= o \circ \tanh(c')

    The input and the forget gate see the old cell, the output gate the new one.

    Source: Graves 2013 (arXiv:1308.0850), eqs. 7 to 11; the gradient: section 2.1.

    Args:
      params: the cell's parameters (`w` and `b` are in `inputs` already).
      carry: h and c, shapes [D].
      inputs: `peephole_lstm_inputs` of the input, shape [4*D].
      gradient_limit: largest absolute value of the derivative of the loss by what
        enters a sigmoid or tanh of a gate; larger ones are clipped at every step (1
        for text and 10 for handwriting in the paper). None clips nothing.

    Returns:
      The new carry, and its hidden state as output, shape [D].

    Raises:
      ValueError: if a shape disagrees with the letters above, or `gradient_limit` is
        not positive.
    """

    def bounded(gate: Array) -> Array:
        if gradient_limit is None:
            return gate
        return clip_gradient(gate, limit=gradient_limit)

    gates = inputs + precision.matmul(carry.hidden, params.u)
    input_gate, forget_gate, new, output_gate = jnp.split(gates, 4)  # [4*D] -> 4 x [D]
    input_gate = jax.nn.sigmoid(bounded(input_gate + params.w_input * carry.cell))
    forget_gate = jax.nn.sigmoid(bounded(forget_gate + params.w_forget * carry.cell))
    cell = forget_gate * carry.cell + input_gate * jnp.tanh(bounded(new))
    output_gate = jax.nn.sigmoid(bounded(output_gate + params.w_output * cell))
    hidden = output_gate * jnp.tanh(cell)
    return LSTMState(hidden, cell), hidden


def peephole_lstm(
    params: PeepholeLSTMParams,
    carry: LSTMState,
    x: Float[Array, "M"],
    *,
    gradient_limit: float | None = None,
) -> tuple[LSTMState, Float[Array, "D"]]:
    """Advances the state by one input: `peephole_lstm_recur` of the projected input.

    Args:
      params: the cell's parameters.
      carry: h and c, shapes [D].
      x: the input, shape [M].
      gradient_limit: as of `peephole_lstm_recur`.

    Returns:
      The new carry, and its hidden state as output, shape [D].

    Raises:
      ValueError: if a shape disagrees with the parameters.
    """
    inputs = peephole_lstm_inputs(params, x)
    return peephole_lstm_recur(params, carry, inputs, gradient_limit=gradient_limit)
