"""Alignments: which source positions one decoder state reads.

An aligner is three small functions that the RNNSearch cell is a parameter of:
swap the aligner and the same model is additive, dot, bilinear or local
attention, or two cursors that move in step. `ALIGNERS` is the table; add a row.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from attnjax.core import precision, scores, weights, windows
from attnjax.core.attend import Memory

Tree = Any
Draw = Callable[[Array, tuple[int, ...]], Array]


class Drawing(Protocol):
    """How an alignment's weights are drawn."""

    @property
    def alignment(self) -> Draw: ...
    @property
    def vector(self) -> Draw: ...


class Sizes(NamedTuple):
    """Widths that an alignment's parameters depend on."""

    D: int  # decoder state
    E: int  # source states
    A: int  # alignment network


class Aligner(NamedTuple):
    """How a decoder state finds source positions: its alignment in the making.

    `init(rng, sizes, draw)` makes the parameters; `keys(params, values)`
    projects the source states [..., S, E] once per source; `weigh(params,
    state, position, memory)` gives the weights [S] of one decoder state [D] at
    target position `position`.
    """

    init: Callable[[Array, Sizes, Drawing], Tree]
    keys: Callable[[Tree, Array], Array]
    weigh: Callable[[Tree, Array, Array, Memory], Array]


class AdditiveParams(NamedTuple):
    """The paper's alignment network."""

    w_query: Float[Array, "D A"]  # W_a
    w_keys: Float[Array, "E A"]  # U_a
    v: Float[Array, "A"]  # v_a


class BilinearParams(NamedTuple):
    """Luong's "general" score."""

    matrix: Float[Array, "D E"]


class LocalParams(NamedTuple):
    """An additive score, and the prediction of where to look."""

    score: AdditiveParams
    w_position: Float[Array, "D A"]  # W_p
    v_position: Float[Array, "A"]  # v_p


class NoParams(NamedTuple):
    """Nothing to learn."""


def _additive_init(rng: Array, sizes: Sizes, draw: Drawing) -> Tree:
    r_query, r_keys, r_v = jax.random.split(rng, 3)
    return AdditiveParams(
        w_query=draw.alignment(r_query, (sizes.D, sizes.A)),
        w_keys=draw.alignment(r_keys, (sizes.E, sizes.A)),
        v=draw.vector(r_v, (sizes.A,)),
    )


def _additive_keys(params: AdditiveParams, values: Array) -> Array:
    return precision.matmul(values, params.w_keys)


def _additive_weigh(
    params: AdditiveParams, state: Array, position: Array, memory: Memory
) -> Array:
    query = precision.matmul(state, params.w_query)
    return weights.masked_softmax(
        scores.additive(query, memory.keys, params.v), memory.mask
    )


def _bilinear_init(rng: Array, sizes: Sizes, draw: Drawing) -> Tree:
    return BilinearParams(draw.alignment(rng, (sizes.D, sizes.E)))


def _bilinear_weigh(
    params: BilinearParams, state: Array, position: Array, memory: Memory
) -> Array:
    matched = scores.bilinear(state, memory.keys, params.matrix)
    return weights.masked_softmax(matched, memory.mask)


def _dot_keys(params: NoParams, values: Array) -> Array:
    """Forward plus backward states: a width that fits the decoder's, unlearned."""
    forward, backward = jnp.split(values, 2, axis=-1)
    return forward + backward


def _dot_weigh(
    params: NoParams, state: Array, position: Array, memory: Memory
) -> Array:
    return weights.masked_softmax(scores.dot(state, memory.keys), memory.mask)


def _local_init(rng: Array, sizes: Sizes, draw: Drawing) -> Tree:
    r_score, r_w, r_v = jax.random.split(rng, 3)
    return LocalParams(
        score=_additive_init(r_score, sizes, draw),
        w_position=draw.alignment(r_w, (sizes.D, sizes.A)),
        v_position=draw.vector(r_v, (sizes.A,)),
    )


def _local_weigh(
    params: LocalParams,
    state: Array,
    position: Array,
    memory: Memory,
    *,
    half_width: float,
) -> Array:
    """Luong, Pham & Manning 2015 (arXiv:1508.04025), eqs. 9 and 10."""
    hidden = jnp.tanh(precision.matmul(state, params.w_position))
    share = jax.nn.sigmoid(precision.matmul(hidden, params.v_position))
    length = jnp.sum(memory.mask, dtype=share.dtype)
    factor = windows.local_p(share * length, memory.mask, half_width=half_width)
    return factor * _additive_weigh(params.score, state, position, memory)


def _diagonal_weigh(
    params: NoParams, state: Array, position: Array, memory: Memory, *, rate: float
) -> Array:
    # Positions are exact integers to float32's 2**24; bfloat16 would stop at 256.
    cursor = position.astype(precision.accumulation_dtype(state.dtype))
    return windows.diagonal(cursor, memory.mask, rate=rate).astype(state.dtype)


def _no_params(rng: Array, sizes: Sizes, draw: Drawing) -> Tree:
    return NoParams()


def local(half_width: float = 10.0) -> Aligner:
    """Additive attention within a window around a predicted position ("local-p")."""
    weigh = partial(_local_weigh, half_width=half_width)
    return Aligner(
        _local_init, lambda params, values: _additive_keys(params.score, values), weigh
    )


def diagonal(rate: float = 1.0) -> Aligner:
    """Two cursors in step: target position i reads source position `rate` * i."""
    # Nothing is compared: one column stands in for the keys.
    return Aligner(
        _no_params,
        lambda params, values: values[..., :1],
        partial(_diagonal_weigh, rate=rate),
    )


ADDITIVE = Aligner(_additive_init, _additive_keys, _additive_weigh)
BILINEAR = Aligner(_bilinear_init, lambda params, values: values, _bilinear_weigh)
DOT = Aligner(_no_params, _dot_keys, _dot_weigh)

ALIGNERS: dict[str, Aligner] = {
    "additive": ADDITIVE,
    "dot": DOT,
    "bilinear": BILINEAR,
    "local-p": local(),
    "diagonal": diagonal(),
}
