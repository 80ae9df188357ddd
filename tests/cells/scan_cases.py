"""Cells over time, what a scan over them needs, and the plain scan to compare with."""

import functools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.cells.aligners import ALIGNERS
from attnjax.cells.gru import gru
from attnjax.cells.lstm import LSTMState
from attnjax.cells.luong import LuongParams, LuongState, luong
from attnjax.cells.rnnsearch import initial_carry, rnnsearch
from attnjax.core import precision
from attnjax.core.attend import Memory
from tests.arg_specs import TINY_DECODER
from tests.cells.papers import (
    aligner_shapes,
    draw_dict,
    gru_params,
    gru_shapes,
    lstm_params,
    lstm_shapes,
    rnnsearch_params,
)
from tests.core.cases import draw

B, S, T, D, M, E, A, *_ = TINY_DECODER


@jax.custom_vjp
def feedback(x, w):
    """A product whose derivative is not that of a product (Lillicrap et al. 2016)."""
    return x @ w


feedback.defvjp(
    lambda x, w: (x @ w, (x, w)), lambda r, g: (g @ r[1] * 0.5, 3 * jnp.outer(r[0], g))
)
CONSTANT = draw(94, D, D)


def _inner_scan(w, h):
    return jax.lax.scan(lambda h, row: (h + jnp.sum(row * h) * row, None), h, w)[0]


def _branches(w, h):
    return jax.lax.cond(h[0] > 0, lambda: h @ w, lambda: w @ h)


# What a cell may do with a matrix w [D, D], or heads of it [H, D, D], and its state h;
# and how many products have their weight's gradient computed after the loop.
USES = {
    "matmul": (lambda w, h: precision.matmul(h, w), 1),
    "operator": (lambda w, h: h @ w, 1),
    "left": (lambda w, h: w @ h, 1),
    "transpose": (lambda w, h: w.T @ h, 1),
    "einsum": (lambda w, h: jnp.einsum("i,ij->j", h, w), 1),
    "exact": (lambda w, h: jnp.matmul(h, w, precision="highest"), 1),
    "vmap": (lambda w, h: jax.vmap(lambda row: row @ h)(w), 1),
    "vmapped matmul": (lambda w, h: jax.vmap(lambda c: precision.matmul(h, c))(w.T), 1),
    "jit": (lambda w, h: jax.jit(jnp.dot)(h, w), 1),
    "checkpoint": (lambda w, h: jax.checkpoint(lambda w: jnp.tanh(h @ w) @ w)(w), 2),
    "activation": (lambda w, h: h @ jnp.tanh(w), 1),
    "slice": (lambda w, h: h[:2] @ w[:2], 1),
    "twice": (lambda w, h: jnp.tanh(h @ w) @ w, 2),
    "product and elementwise": (lambda w, h: h @ w + jnp.sum(w * w, 0) * h, 1),
    "of weights": (lambda w, h: h @ (w @ w.T), 1),
    "constant": (lambda w, h: h @ CONSTANT.astype(h.dtype) + h @ w, 2),
    "larger operand": (lambda w, h: jnp.outer(jnp.tile(h, 4), h) @ w @ h[:, None], 0),
    "elementwise": (lambda w, h: jnp.sum(w * h, 1), 0),
    "read by state": (lambda w, h: w[jnp.argmax(h)], 0),
    "scan": (_inner_scan, 0),
    "loop": (lambda w, h: jax.lax.fori_loop(0, 2, lambda _, h: jnp.tanh(h @ w), h), 0),
    "cond": (_branches, 0),
    "unused": (lambda w, h: h, 0),
}


def own_derivative(w, carry, x):
    """A cell with a product that has a derivative of its own."""
    h = jnp.tanh(feedback(carry, w) + x[:D])
    return h, h


def one_use(name, params, carry, x):
    """A recurrence whose product is one of the uses."""
    h = USES[name][0](params, carry)
    h = jnp.tanh(jnp.resize(h, D) + x[:D])
    return h, (h[:1], {"square": h * h})


def all_uses(params, carry, x):
    """Every use of a matrix beside the others, each with a weight and state of its own.

    They compile as one program; a difference is named by its key.
    """
    matrices, bias, _, _ = params
    states, count = carry
    made = {n: one_use(n, matrices[n], h, x[:D] + bias) for n, h in states.items()}
    new, ys = ({n: both[i] for n, both in made.items()} for i in (0, 1))
    return (new, count + 1), (ys, None)


def all_aligners(params, carry, x, *, memory):
    """RNNSearch with every aligner, side by side."""
    made = {
        name: rnnsearch(params[name], carry[name], x, memory=memory[name], aligner=a)
        for name, a in ALIGNERS.items()
    }
    return tuple({name: both[i] for name, both in made.items()} for i in (0, 1))


class Case(NamedTuple):
    """A cell, and what a scan over it needs; arrays are float64."""

    cell: object
    params: object
    carry: object
    width: int  # of the inputs
    memory: object = None


def _cases():
    with jax.enable_x64(True):
        state = draw(80, B, D)
        pair = LSTMState(state, draw(81, B, D))
        lstm_weights = lstm_params(draw_dict(3, lstm_shapes(M, D)))
        feeding = LuongParams((lstm_weights,), draw(87, D, 4 * D), draw(88, E + D, D))
        search = gru_shapes(M, D, E, "decoder.") | aligner_shapes(D, E, A)
        searches = {n: rnnsearch_params(draw_dict(0, search), n) for n in ALIGNERS}
        values = jnp.asarray(draw(91, B, S, E))
        mask = np.arange(S) < np.array([[S], [S - 2]])
        memories = {
            name: Memory(
                aligner.project_keys(searches[name].aligner, values), values, mask
            )
            for name, aligner in ALIGNERS.items()
        }
        uses = {n: draw(100 + i, D, D) for i, n in enumerate(USES)}
        states = {n: draw(200 + i, B, D) for i, n in enumerate(USES)}
        cases = {
            "gru": Case(gru, gru_params(draw_dict(2, gru_shapes(M, D))), state, M),
            "uses": Case(
                all_uses,
                (uses, draw(86, D), np.int32(7), None),
                (states, np.zeros(B, np.int32)),
                M,
            ),
            "aligners": Case(
                all_aligners,
                searches,
                {
                    name: jax.vmap(partial(initial_carry, searches[name], aligner=a))(
                        [jnp.asarray(state)], memories[name]
                    )
                    for name, a in ALIGNERS.items()
                },
                3 * D,
                memories,
            ),
            "luong": Case(
                luong,
                feeding,
                LuongState((pair,), draw(89, B, D)),
                4 * D,
                Memory(draw(92, B, S, D), values, mask),
            ),
        }
        return jax.tree.map(
            lambda x: np.asarray(x) if hasattr(x, "dtype") else x, cases
        )


CASES = _cases()
MASKS = {
    "all": np.ones((B, T), bool),
    "after": np.arange(T) < np.array([T, 2])[:, None],
    "before": np.arange(T) >= np.array([1, 3])[:, None],
    "holes": np.array([[True, False, True, False], [False] * 4]),
}


def inputs_of(name, dtype="float64"):
    """(params, carry, xs, memory) of a case."""
    _, params, carry, width, memory = CASES[name]
    tree = params, carry, draw(93, B, T, width), memory
    return jax.tree.map(
        lambda x: jnp.asarray(x, dtype if x.dtype == np.float64 else x.dtype), tree
    )


def plain_scan(cell, params, carry, xs, memory=None, mask=None, reverse=False):
    """What `scan` promises to be: lax.scan over vmap, and a select."""
    mask = jnp.ones(jax.tree.leaves(xs)[0].shape[:2], bool) if mask is None else mask

    def select(keep, new, old):
        return jax.vmap(lambda k, a, b: jnp.where(k, a, b))(keep, new, old)

    def one(carry, x, memory):
        if memory is None:
            return cell(params, carry, x)
        return cell(params, carry, x, memory=memory)

    def step(carry, inputs):
        x, keep = inputs
        new, y = jax.vmap(one)(carry, x, memory)
        new = jax.tree.map(partial(select, keep), new, carry)
        return new, jax.tree.map(lambda a: select(keep, a, jnp.zeros_like(a)), y)

    swap = partial(jax.tree.map, lambda a: jnp.swapaxes(a, 0, 1))
    carry, ys = jax.lax.scan(step, carry, swap((xs, mask)), reverse=reverse)
    return carry, swap(ys)


def _drop_float0(gradient):
    """Integers have a gradient without values; leave nothing of it."""
    return None if gradient.dtype == jax.dtypes.float0 else gradient


def total_of(run, name, inputs, mask, reverse=False):
    """A sum that tells the entries of a result apart, and the result."""
    params, carry, xs, memory = inputs
    result = run(
        CASES[name].cell, params, carry, xs, memory=memory, mask=mask, reverse=reverse
    )
    total = sum(
        jnp.sum(x * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape))
        for x in jax.tree.leaves(result)
        if jnp.issubdtype(x.dtype, jnp.floating)  # a cursor's position is not
    )
    return total, result


@functools.cache
def run_case(run, name, reverse=False):
    """Jitted result, and gradient of its total in all arguments.

    Compiled once per scan, cell and direction; the mask is an argument.
    """

    def call(inputs, mask):
        total = partial(total_of, run, name, reverse=reverse)
        gradient = jax.value_and_grad(total, has_aux=True, allow_int=True)
        (_, result), gradients = gradient(inputs, mask)
        return result, jax.tree.map(_drop_float0, gradients)

    return jax.jit(call)
