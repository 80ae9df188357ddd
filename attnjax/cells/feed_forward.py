"""A hidden layer in the form of a recurrent cell: the controller without a state."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.cells.initializers import Initializers
from attnjax.core import precision
from attnjax.core._checks import broadcasting, shaped


class FeedForwardParams(NamedTuple):
    """Parameters of a hidden layer."""

    w: Float[Array, "M D"]
    b: Float[Array, "D"]


def init_feed_forward(
    rng: Array, M: int, D: int, initializers: Initializers
) -> FeedForwardParams:
    """Draws the parameters of a hidden layer; its bias is 0.

    Args:
      rng: random key.
      M: width of the input.
      D: width of the layer.
      initializers: how each role is initialised.

    Returns:
      The parameters.
    """
    return FeedForwardParams(initializers.kernel(rng, (M, D)), jnp.zeros(D))


@broadcasting
def feed_forward_inputs(
    params: FeedForwardParams, x: Float[Array, "... M"]
) -> Float[Array, "... D"]:
    """Projects inputs, shape [..., M], for `feed_forward`."""
    product = precision.matmul(x, params.w)
    return product + params.b.astype(product.dtype)


@shaped
def feed_forward(
    params: FeedForwardParams, carry: Float[Array, "D"], inputs: Float[Array, "D"]
) -> tuple[Float[Array, "D"], Float[Array, "D"]]:
    r"""Computes a hidden layer, whatever the carry is.

    .. math:: h_t = \tanh(W x_t + b)

    Args:
      params: the layer's parameters (in `inputs` already).
      carry: the last hidden state, which is not used, shape [D].
      inputs: `feed_forward_inputs` of the input, shape [D].

    Returns:
      The hidden state as carry and as output, shape [D].

    Raises:
      ValueError: if a shape disagrees with the letters above.

    Example:
      >>> params = FeedForwardParams(jnp.ones((2, 1)), jnp.zeros(1))
      >>> feed_forward(params, jnp.ones(1), jnp.zeros(1))[1]
      Array([0.], dtype=float32)
    """
    hidden = jnp.tanh(inputs)
    return hidden, hidden
