"""Initial values of parameters, by the role that a parameter plays.

Cells and models ask for a role (`kernel`, `recurrent_kernel`, ...) and never for a
distribution, so that one setting changes them all.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Initializer = Callable[[Array, tuple[int, ...]], Array]  # rng, shape -> array


class Initializers(NamedTuple):
    """One initializer for each role: functions of a random key and a shape."""

    embedding: Initializer  # [V, M]
    kernel: Initializer  # [inputs, outputs]
    recurrent_kernel: Initializer  # [D, n*D]: n square blocks side by side
    aligner: Initializer  # kernels of the network that scores an alignment
    vector: Initializer  # v_a, the last layer of that network
    bias: Initializer | None = None  # None: 0, or what the cell needs


def uniform(scale: float) -> Initializer:
    """Returns the initializer that draws uniformly from -scale to scale.

    Example:
      >>> x = uniform(0.08)(jax.random.key(0), (100,))
      >>> bool((abs(x) < 0.08).all()), bool(x.min() < -0.07), bool(x.max() > 0.07)
      (True, True, True)
    """

    def draw(rng: Array, shape: tuple[int, ...]) -> Array:
        return jax.random.uniform(rng, shape, minval=-scale, maxval=scale)

    return draw


def initializers(name: Literal["paper", "glorot", "uniform"]) -> Initializers:
    """Returns the initializers of a scheme.

    "paper": normal with standard deviation 0.01, recurrent kernels orthogonal, the
    aligner's 0.001, and v_a = 0. "glorot": Glorot uniform, with embeddings of variance
    1 / width; it suits small models and Adam. "uniform": from -0.08 to 0.08, biases
    too.

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix B.1; Glorot &
    Bengio 2010; orthogonal: Saxe et al. 2014 (arXiv:1312.6120); uniform: Sutskever,
    Vinyals & Le 2014 (arXiv:1409.3215), section 3.4.

    Args:
      name: the scheme.

    Returns:
      One initializer for each role.

    Example:
      >>> init = initializers("paper")
      >>> init.recurrent_kernel(jax.random.key(0), (2, 6)).shape
      (2, 6)
    """
    small, tiny = jax.nn.initializers.normal(0.01), jax.nn.initializers.normal(0.001)
    if name == "uniform":
        every = uniform(0.08)
        return Initializers(every, every, every, every, every, every)
    if name == "paper":
        return Initializers(small, small, _orthogonal_blocks, tiny, _zeros)
    glorot = jax.nn.initializers.glorot_uniform()
    return Initializers(_unit_rows, glorot, _orthogonal_blocks, glorot, _unit_rows)


def _zeros(rng: Array, shape: tuple[int, ...]) -> Array:
    return jnp.zeros(shape)


def _unit_rows(rng: Array, shape: tuple[int, ...]) -> Array:
    """Normal with variance 1 / width: a row has a squared length of 1 on average."""
    return jax.random.normal(rng, shape) * shape[-1] ** -0.5


def _orthogonal_blocks(rng: Array, shape: tuple[int, ...]) -> Array:
    """One orthogonal matrix for each gate; the whole could not be orthogonal."""
    size, width = shape
    one = jax.nn.initializers.orthogonal()
    rngs = jax.random.split(rng, width // size)
    return jnp.concatenate([one(r, (size, size)) for r in rngs], axis=1)
