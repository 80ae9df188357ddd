"""The exponential of what a network emits, which stays finite."""

import jax.numpy as jnp
from jax import Array, lax


def finite_exp(x: Array, *, limit: float = 50.0) -> Array:
    r"""Computes exp(x), at most exp(limit), whose derivative is always its value.

    .. math:: y = e^{\min(x, l)}, \qquad \frac{dy}{dx} = y

    So a network that emits a logarithm far too large gets a large gradient, neither
    infinite nor 0, and comes back. Below the limit it is `jnp.exp`.

    Args:
      x: any array of floats.
      limit: l; exp(50) is 5e21, which is finite in float32 even times 1e16.

    Returns:
      The shape and dtype of `x`.

    Example:
      >>> import jax
      >>> value, slope = jax.value_and_grad(finite_exp)(jnp.array(1000.0))
      >>> f"{value:.1e}, {slope:.1e}"
      '5.2e+21, 5.2e+21'
    """
    at = lax.stop_gradient(x)
    return jnp.exp(jnp.minimum(at, limit)) * jnp.exp(x - at)
