"""Context: the sum of the values, weighted by the attention weights."""

from jaxtyping import Array, Float

from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def read(weights: Float[Array, "S"], values: Float[Array, "S E"]) -> Float[Array, "E"]:
    r"""Computes the weighted sum of the values.

    .. math:: c = \sum_j a_j h_j

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), eq. 5; the read of
    Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eq. 2.

    Args:
      weights: attention weights a, shape [S].
      values: h, shape [S, E].

    Returns:
      Context, shape [E], in the promoted dtype of the inputs.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> read(jnp.array([0.5, 0.5]), jnp.array([[2.0], [4.0]]))
      Array([3.], dtype=float32)
    """
    return precision.matmul(weights, values)
