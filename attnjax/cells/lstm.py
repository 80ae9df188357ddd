"""Long short-term memory, with a forget gate and without peepholes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.core import precision
from attnjax.core._checks import shaped


class LSTMParams(NamedTuple):
    """Weights of an LSTM; gates side by side: input, forget, cell, output."""

    w: Float[Array, "M 4*D"]
    u: Float[Array, "D 4*D"]
    b: Float[Array, "4*D"]


class LSTMState(NamedTuple):
    """What an LSTM passes on."""

    hidden: Float[Array, "D"]
    cell: Float[Array, "D"]


def lstm_inputs(
    params: LSTMParams, x: Float[Array, "... M"]
) -> Float[Array, "... 4*D"]:
    """Projects inputs for `lstm_recur`: what does not wait for the state.

    Args:
      params: the cell's weights.
      x: inputs, shape [..., M].

    Returns:
      Contributions to input, forget, cell and output gates, shape [..., 4*D].
    """
    product = precision.matmul(x, params.w)
    return product + params.b.astype(product.dtype)


@shaped
def lstm_recur(
    params: LSTMParams, carry: LSTMState, inputs: Float[Array, "4*D"]
) -> tuple[LSTMState, Float[Array, "D"]]:
    r"""Advances the state by one step of projected input.

    .. math::
        i, f, o &= \sigma(\cdot), \quad g = \tanh(\cdot) \\
        c' &= f \circ c + i \circ g, \quad h' = o \circ \tanh(c')

    Source: Graves 2013 (arXiv:1308.0850), eqs. 7 to 11, without the peephole
    weights W_ci, W_cf and W_co.

    Args:
      params: the cell's weights (`w` and `b` are in `inputs` already).
      carry: h and c, shapes [D].
      inputs: what `lstm_inputs` made of the input, shape [4*D].

    Returns:
      The new carry, and its hidden state as output, shape [D].

    Raises:
      ValueError: if a shape disagrees with the letters above.
    """
    gates = inputs + precision.matmul(carry.hidden, params.u)
    enter, forget, new, leave = jnp.split(gates, 4)
    kept = jax.nn.sigmoid(forget) * carry.cell
    cell = kept + jax.nn.sigmoid(enter) * jnp.tanh(new)
    hidden = jax.nn.sigmoid(leave) * jnp.tanh(cell)
    return LSTMState(hidden, cell), hidden


def lstm(
    params: LSTMParams, carry: LSTMState, x: Float[Array, "M"]
) -> tuple[LSTMState, Float[Array, "D"]]:
    """Advances the state by one input: `lstm_recur` of `lstm_inputs`.

    Args:
      params: the cell's weights.
      carry: h and c, shapes [D].
      x: the input, shape [M].

    Returns:
      The new carry, and its hidden state as output, shape [D].

    Raises:
      ValueError: if a shape disagrees with the weights.
    """
    return lstm_recur(params, carry, lstm_inputs(params, x))
