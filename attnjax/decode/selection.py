"""A top-k that is fast over large vocabularies on CPU."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

_BLOCK = 64


def top_k(x: Float[Array, "... V"], k: int) -> tuple[Array, Int[Array, "... K"]]:
    """Returns the `k` largest entries and their indices, as `lax.top_k` does.

    The k largest entries lie in the k blocks with the largest maxima, so one vectorised
    maximum per block leaves k blocks to sort. Ties go to the smaller index. Measured on
    two CPU cores for [160, 8000] and k = 5: 0.9 ms, against 3.6 ms for `lax.top_k` and
    18 ms for k rounds of argmax.

    Example:
      >>> top_k(jnp.array([2.0, 7.0, 3.0, 7.0]), 3)[1]
      Array([1, 3, 2], dtype=int32)
    """
    *lead, V = x.shape
    blocks = -(-V // _BLOCK)
    if blocks <= k:
        return lax.top_k(x, k)
    padding = [(0, 0)] * len(lead) + [(0, blocks * _BLOCK - V)]
    x = jnp.pad(x, padding, constant_values=-jnp.inf)
    x = x.reshape(*lead, blocks, _BLOCK)  # [..., V] -> [..., blocks, _BLOCK]
    _, chosen = lax.top_k(x.max(axis=-1), k)
    chosen = jnp.sort(chosen, axis=-1)  # ties keep the order of indices
    candidates = jnp.take_along_axis(x, chosen[..., None], axis=-2)
    candidates = candidates.reshape(*lead, k * _BLOCK)  # [..., k, _BLOCK] -> flat
    values, i = lax.top_k(candidates, k)
    block = jnp.take_along_axis(chosen, i // _BLOCK, axis=-1)
    return values, block * _BLOCK + i % _BLOCK
