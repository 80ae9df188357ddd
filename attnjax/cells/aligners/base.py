"""What an aligner is made of, and the parts of one that has nothing to learn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from attnjax.cells.initializers import Initializers
from attnjax.core import weights
from attnjax.core.attend import Memory

Tree = Any
Weighed = tuple[Tree, Array]  # carry, weights [S]


class Sizes(NamedTuple):
    """Widths that an aligner's parameters depend on."""

    D: int  # decoder state
    E: int  # source states
    A: int  # hidden layer of the network that scores


def no_carry(params: Tree, memory: Memory) -> tuple[()]:
    """The initial carry of an aligner that carries nothing."""
    return ()


def first_position(params: Tree, memory: Memory) -> Array:
    """An initial carry of all weight on the first source position, if there is one."""
    return weights.hardmax(jnp.zeros_like(memory.keys[:, 0]), memory.mask)


class Aligner(NamedTuple):
    """The functions that make an aligner, each for one row; batches are `jax.vmap`."""

    init: Callable[[Array, Sizes, Initializers], Tree]
    """Draws the parameters: (rng, sizes, initializers) -> params."""
    project_keys: Callable[[Tree, Array], Array]
    """Projects the source states, once for each source: (params, states [..., S, E]) ->
    keys [..., S, C]."""
    weigh: Callable[[Tree, Tree, Array, Array, Memory], Weighed]
    """Weighs the source at one target position, counted from 0: (params, carry,
    query [D], position [], memory) -> (carry, weights [S])."""
    initial_carry: Callable[[Tree, Memory], Tree] = no_carry
    """Makes the carry before the first target position: (params, memory) -> carry."""


class NoParams(NamedTuple):
    """The parameters of an aligner that has none."""


def no_params(rng: Array, sizes: Sizes, initializers: Initializers) -> NoParams:
    """The `init` of an aligner that has no parameters."""
    return NoParams()
