"""The gated recurrent unit of the attention paper: reset before the matmul.

Frameworks' GRU cells mostly reset after the product with U; that is another cell.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.cells.initializers import Initializers
from attnjax.core import precision
from attnjax.core._checks import broadcasting, shaped


class GRUParams(NamedTuple):
    """Parameters of a GRU; gates side by side: update, reset, candidate."""

    w: Float[Array, "M 3*D"]  # W_z, W_r, W: from the input
    u_gates: Float[Array, "D 2*D"]  # U_z, U_r: from the state
    u_candidate: Float[Array, "D D"]  # U: from the state after reset
    b: Float[Array, "3*D"]


def init_gru(rng: Array, M: int, D: int, initializers: Initializers) -> GRUParams:
    """Draws the parameters of a GRU; biases are 0, unless an initializer draws them.

    Args:
      rng: random key.
      M: width of the input.
      D: width of the state.
      initializers: how each role is initialised.

    Returns:
      The parameters.

    Example:
      >>> from attnjax.cells.initializers import initializers
      >>> init_gru(jax.random.key(0), 5, 3, initializers("glorot")).w.shape
      (5, 9)
    """
    r_input, r_gates, r_candidate = jax.random.split(rng, 3)
    if initializers.bias is None:
        b = jnp.zeros(3 * D)
    else:
        b = initializers.bias(jax.random.fold_in(rng, 3), (3 * D,))
    return GRUParams(
        w=initializers.kernel(r_input, (M, 3 * D)),
        u_gates=initializers.recurrent_kernel(r_gates, (D, 2 * D)),
        u_candidate=initializers.recurrent_kernel(r_candidate, (D, D)),
        b=b,
    )


@broadcasting
def gru_inputs(params: GRUParams, x: Float[Array, "... M"]) -> Float[Array, "... 3*D"]:
    """Projects inputs for `gru_recur`: the part that does not depend on the state.

    Called for all steps of a sequence at once, it is one matmul outside the scan.

    Args:
      params: the cell's parameters.
      x: inputs, shape [..., M].

    Returns:
      Contributions to update gate, reset gate and candidate, shape [..., 3*D].
    """
    product = precision.matmul(x, params.w)
    return product + params.b.astype(product.dtype)


@shaped
def gru_recur(
    params: GRUParams, carry: Float[Array, "D"], inputs: Float[Array, "3*D"]
) -> tuple[Float[Array, "D"], Float[Array, "D"]]:
    r"""Advances the state by one step of projected input.

    .. math::
        z &= \sigma(i_z + U_z s), \quad r = \sigma(i_r + U_r s) \\
        \tilde s &= \tanh(i_s + U (r \circ s)) \\
        s' &= (1 - z) \circ s + z \circ \tilde s

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A.1.1. In Cho
    et al. 2014 (arXiv:1406.1078), eq. 7, z and 1 - z are exchanged.

    Args:
      params: the cell's parameters (`w` and `b` are in `inputs` already).
      carry: s, the state, shape [D].
      inputs: `gru_inputs` of the input, shape [3*D].

    Returns:
      The new state twice: as carry and as output, shape [D].

    Raises:
      ValueError: if a shape disagrees with the letters above.
    """
    D = carry.shape[-1]
    # Both gates in one product; the candidate needs the reset gate first.
    gates = jax.nn.sigmoid(inputs[: 2 * D] + precision.matmul(carry, params.u_gates))
    update, reset = gates[:D], gates[D:]
    recurrent = precision.matmul(reset * carry, params.u_candidate)
    candidate = jnp.tanh(inputs[2 * D :] + recurrent)
    state = carry + update * (candidate - carry)
    return state, state


def gru(
    params: GRUParams, carry: Float[Array, "D"], x: Float[Array, "M"]
) -> tuple[Float[Array, "D"], Float[Array, "D"]]:
    """Advances the state by one input: `gru_recur` of `gru_inputs`.

    Args:
      params: the cell's parameters.
      carry: the state, shape [D].
      x: the input, shape [M].

    Returns:
      The new state twice: as carry and as output, shape [D].

    Raises:
      ValueError: if a shape disagrees with the parameters.
    """
    return gru_recur(params, carry, gru_inputs(params, x))
