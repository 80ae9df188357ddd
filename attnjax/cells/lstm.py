"""Long short-term memory, with a forget gate and without peepholes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.cells.initializers import Initializers
from attnjax.core import precision
from attnjax.core._checks import broadcasting, shaped


class LSTMParams(NamedTuple):
    """Parameters of an LSTM; gates side by side: input, forget, cell, output."""

    w: Float[Array, "M 4*D"]
    u: Float[Array, "D 4*D"]
    b: Float[Array, "4*D"]


class LSTMState(NamedTuple):
    """The carry of an LSTM."""

    hidden: Float[Array, "D"]  # h, which is also the output
    cell: Float[Array, "D"]  # c


def init_lstm(rng: Array, M: int, D: int, initializers: Initializers) -> LSTMParams:
    """Draws the parameters of an LSTM; biases are 0, that of the forget gate is 1.

    Initializers that have one for biases draw these too. With a bias of 1 the cell
    keeps 73 % of its content at each step of an untrained network, not 50 %, so that
    gradients reach far back from the beginning.

    Source: Jozefowicz, Zaremba & Sutskever 2015, "An Empirical Exploration of Recurrent
    Network Architectures", section 3.2; Keras calls it `unit_forget_bias`.

    Args:
      rng: random key.
      M: width of the input.
      D: width of the state.
      initializers: how each role is initialised.

    Returns:
      The parameters.

    Example:
      >>> from attnjax.cells.initializers import initializers
      >>> init_lstm(jax.random.key(0), 5, 2, initializers("glorot")).b
      Array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)
    """
    r_input, r_recurrent = jax.random.split(rng)
    if initializers.bias is None:
        b = jnp.zeros(4 * D).at[D : 2 * D].set(1)
    else:
        b = initializers.bias(jax.random.fold_in(rng, 2), (4 * D,))
    return LSTMParams(
        w=initializers.kernel(r_input, (M, 4 * D)),
        u=initializers.recurrent_kernel(r_recurrent, (D, 4 * D)),
        b=b,
    )


@broadcasting
def lstm_inputs(
    params: LSTMParams, x: Float[Array, "... M"]
) -> Float[Array, "... 4*D"]:
    """Projects inputs for `lstm_recur`: the part that does not depend on the state.

    Called for all steps of a sequence at once, it is one matmul outside the scan.

    Args:
      params: the cell's parameters.
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
    connections W_ci, W_cf and W_co.

    Args:
      params: the cell's parameters (`w` and `b` are in `inputs` already).
      carry: h and c, shapes [D].
      inputs: `lstm_inputs` of the input, shape [4*D].

    Returns:
      The new carry, and its hidden state as output, shape [D].

    Raises:
      ValueError: if a shape disagrees with the letters above.
    """
    gates = inputs + precision.matmul(carry.hidden, params.u)
    input_gate, forget_gate, new, output_gate = jnp.split(gates, 4)  # [4*D] -> 4 x [D]
    kept = jax.nn.sigmoid(forget_gate) * carry.cell
    cell = kept + jax.nn.sigmoid(input_gate) * jnp.tanh(new)
    hidden = jax.nn.sigmoid(output_gate) * jnp.tanh(cell)
    return LSTMState(hidden, cell), hidden


def lstm(
    params: LSTMParams, carry: LSTMState, x: Float[Array, "M"]
) -> tuple[LSTMState, Float[Array, "D"]]:
    """Advances the state by one input: `lstm_recur` of `lstm_inputs`.

    Args:
      params: the cell's parameters.
      carry: h and c, shapes [D].
      x: the input, shape [M].

    Returns:
      The new carry, and its hidden state as output, shape [D].

    Raises:
      ValueError: if a shape disagrees with the parameters.
    """
    return lstm_recur(params, carry, lstm_inputs(params, x))
