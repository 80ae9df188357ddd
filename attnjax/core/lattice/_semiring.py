"""Sums of probabilities that are held as logarithms, where -inf is probability 0.

`jnp.logaddexp` and `jax.nn.logsumexp` compute -inf - -inf on the way; these do not, so
neither a value nor a gradient is NaN where nothing can happen.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def log_add(x: Array, y: Array) -> Array:
    """Computes log(exp x + exp y)."""
    high, low = jnp.maximum(x, y), jnp.minimum(x, y)
    return high + jnp.log1p(jnp.exp(low - finite(high)))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def log_sum(x: Array, axis: int = -1) -> Array:
    """Computes the logarithm of the sum of exponentials over an axis."""
    peak = finite(jnp.max(x, axis=axis, keepdims=True, initial=-jnp.inf))
    total = jnp.sum(jnp.exp(x - peak), axis=axis)
    some = total != 0  # also where it is NaN, which must come out
    logarithm = jnp.log(jnp.where(some, total, 1))
    peak = jnp.squeeze(peak, axis)  # [..., 1] -> [...]
    return jnp.where(some, logarithm + peak, -jnp.inf)


@log_sum.defjvp
def _log_sum_jvp(axis: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    # Written by hand, it saves the result only, and no gradient goes to the maximum.
    (x,), (dx,) = primals, tangents
    total = log_sum(x, axis)
    share = jnp.exp(x - jnp.expand_dims(finite(total), axis))  # [...] -> [..., 1]
    return total, jnp.sum(share * dx, axis=axis)


def log_shares(x: Array, axis: int = -1) -> Array:
    """The logarithm of `shares`: -inf where all are."""
    total = jnp.expand_dims(log_sum(x, axis), axis)  # [...] -> [..., 1]
    return x - finite(total)


def shares(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Normalises exponentials to sum to 1 over an axis, or to 0 where all are 0."""
    peak = finite(jnp.max(x, axis=axis, keepdims=True, initial=-jnp.inf))
    each = jnp.exp(x - lax.stop_gradient(peak))
    total = jnp.sum(each, axis=axis, keepdims=True)
    return each / jnp.where(total == 0, 1, total)


def finite(x: Array) -> Array:
    """Replaces -inf by 0, so that it can be subtracted; NaN stays NaN."""
    return jnp.where(x == -jnp.inf, 0, x)


def xlogx(x: Array) -> Array:
    """Computes x log x, with value and gradient 0 at x = 0; NaN of NaN."""
    zero = x == 0
    return jnp.where(zero, 0, x * jnp.log(jnp.where(zero, 1, x)))
