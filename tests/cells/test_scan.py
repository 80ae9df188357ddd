"""A cell over time has the numbers and gradients of plain `lax.scan`."""

import functools
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from attnjax.cells.gru import gru, gru_recur
from attnjax.cells.lstm import LSTMState, lstm
from attnjax.cells.luong import LuongParams, LuongState, luong
from attnjax.cells.rnnsearch import RNNSearchState, rnnsearch
from attnjax.cells.scan import bidirectional, scan
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


def odd(params, carry, x):
    """Uses its weights in every way that is not one plain product."""
    twice, elementwise, transposed, _, bias = params
    h = precision.matmul(jnp.tanh(precision.matmul(carry, twice)), twice)
    h = h + jnp.sum(elementwise * elementwise, axis=0) * carry
    h = h + precision.matmul(carry, transposed) + transposed.T @ carry
    h = jnp.tanh(h + x[:D] + bias)
    return h, (h[:1], {"square": h * h})


class Case(NamedTuple):
    """A cell, and what a scan over it needs; arrays are float64."""

    cell: object
    params: object
    carry: object
    width: int  # of the inputs
    memory: object = None


def _memory():
    lengths = np.array([S, S - 2])
    return Memory(draw(90, B, S, A), draw(91, B, S, E), np.arange(S) < lengths[:, None])


def _cases():
    with jax.enable_x64(True):
        search = draw_dict(0, gru_shapes(M, D, E, "decoder.") | aligner_shapes(D, E, A))
        fed = lstm_params(draw_dict(1, lstm_shapes(M, D)))
        state = draw(80, B, D)
        pair = LSTMState(state, draw(81, B, D))
        squares = *(draw(82 + i, D, D) for i in range(4)), draw(86, D)
        memory = _memory()
        cases = {
            "gru": Case(gru, gru_params(draw_dict(2, gru_shapes(M, D))), state, M),
            "lstm": Case(lstm, lstm_params(draw_dict(3, lstm_shapes(M, D))), pair, M),
            "odd": Case(odd, squares, state, M),
            "rnnsearch": Case(
                rnnsearch,
                rnnsearch_params(search),
                RNNSearchState((state,), np.zeros(B, np.int32), ()),
                3 * D,
                memory,
            ),
            "luong": Case(
                luong,
                LuongParams((fed,), draw(87, D, 4 * D), draw(88, E + D, D)),
                LuongState((pair,), draw(89, B, D)),
                4 * D,
                memory._replace(keys=draw(92, B, S, D)),
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
each_cell = pytest.mark.parametrize("name", CASES)


def _inputs(name, dtype):
    """(params, carry, xs, memory) of a case."""
    _, params, carry, width, memory = CASES[name]
    tree = params, carry, draw(93, B, T, width), memory
    return jax.tree.map(
        lambda x: jnp.asarray(x, dtype if x.dtype == np.float64 else x.dtype), tree
    )


def _plain(cell, params, carry, xs, memory=None, mask=None, reverse=False):
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


def _drop_float0(slope):
    """Integers have a gradient without values; leave nothing of it."""
    return None if slope.dtype == jax.dtypes.float0 else slope


@functools.cache
def _run(run, name, reverse=False):
    """Jitted result, and gradient in all arguments of a sum that tells entries apart.

    Compiled once per scan, cell and direction; the mask is an argument.
    """

    def objective(params, carry, xs, floats, rest, mask):
        memory = None if floats is None else Memory(*floats, rest)
        arguments = CASES[name].cell, params, carry, xs
        result = run(*arguments, memory=memory, mask=mask, reverse=reverse)
        total = sum(
            jnp.sum(x * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape))
            for x in jax.tree.leaves(result)
            if jnp.issubdtype(x.dtype, jnp.floating)  # a cursor's position is not
        )
        return total, result

    def call(inputs, mask):
        params, carry, xs, memory = inputs
        floats, rest = (None, None) if memory is None else (memory[:2], memory.mask)
        slope = jax.value_and_grad(
            objective, (0, 1, 2, 3), has_aux=True, allow_int=True
        )
        (_, result), slopes = slope(params, carry, xs, floats, rest, mask)
        return result, jax.tree.map(_drop_float0, slopes)

    return jax.jit(call)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@each_cell
def test_is_plain_scan_in_value_and_gradient(name, reverse):
    with jax.enable_x64(True):
        inputs = _inputs(name, "float64")
        for mask in MASKS.values():
            got = _run(scan, name, reverse)(inputs, mask)
            want = _run(_plain, name, reverse)(inputs, mask)
            chex.assert_trees_all_close(got, want, rtol=1e-10, atol=1e-12)
            chex.assert_trees_all_equal_shapes_and_dtypes(got, want)


def test_no_mask_is_a_mask_of_all():
    inputs = _inputs("gru", "float32")
    got, want = (_run(scan, "gru")(inputs, mask) for mask in (None, MASKS["all"]))
    chex.assert_trees_all_close(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float32") for name in CASES),
        ("gru", "bfloat16"),
        ("luong", "bfloat16"),
    ],
)
def test_narrower_dtypes_are_kept_and_near(name, dtype):
    inputs = _inputs(name, dtype)
    got, want = (_run(f, name)(inputs, MASKS["after"]) for f in (scan, _plain))
    # Four steps of rounding: bfloat16 has 2^-9 in every product and nonlinearity.
    rtol, atol = (1e-5, 1e-5) if dtype == "float32" else (0.1, 0.1)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        assert a.dtype in (dtype, "int32")
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol, atol
        )


@each_cell
def test_padding_never_moves_the_carry(name):
    """A row cut to its length, and the same row with poisoned padding after it."""
    params, carry, xs, memory = inputs = _inputs(name, "float32")
    whole, ys = _plain(CASES[name].cell, params, carry, xs[:, :2], memory=memory)
    bad = params, carry, xs.at[:, 2:].set(1e6), memory
    mask = np.broadcast_to(np.arange(T) < 2, (B, T))
    (padded, padded_ys), slopes = _run(scan, name)(bad, mask)
    chex.assert_trees_all_close(padded, whole, rtol=1e-5, atol=1e-6)
    cut = jax.tree.map(lambda y: y[:, :2], padded_ys)
    chex.assert_trees_all_close(cut, ys, rtol=1e-5, atol=1e-6)
    assert not any(y[:, 2:].any() for y in jax.tree.leaves(padded_ys))
    assert (slopes[2][:, 2:] == 0).all()
    want = _run(scan, name)(inputs, mask)[1]
    chex.assert_trees_all_close(slopes, want, rtol=1e-5, atol=1e-6)


@each_cell
def test_a_row_without_steps_keeps_its_carry(name):
    inputs = _inputs(name, "float32")
    (carry, ys), slopes = _run(scan, name)(inputs, np.zeros((B, T), bool))
    chex.assert_trees_all_equal(carry, inputs[1])
    assert not any(x.any() for x in jax.tree.leaves((ys, slopes[0], slopes[2])))


def test_bidirectional_is_two_scans():
    with jax.enable_x64(True):
        params, carry, xs, _ = _inputs("gru", "float64")
        other = jax.tree.map(lambda x: -x, params)
        mask = MASKS["after"]
        both = bidirectional(
            gru, (params, other), (carry, carry), (xs, xs + 1), mask=mask
        )
        forward = _plain(gru, params, carry, xs, mask=mask)
        backward = _plain(gru, other, carry, xs + 1, mask=mask, reverse=True)
        want = tuple(zip(forward, backward, strict=True))
        chex.assert_trees_all_close(both, want, rtol=1e-12)
    # The backward state at a step has seen that step and all after it.
    np.testing.assert_array_equal(both[0][1], both[1][1][:, 0])


def test_inputs_and_weights_of_two_dtypes_meet():
    """Weights may be kept wider than the inputs; their gradients are as wide."""
    params, carry, xs, _ = _inputs("gru", "float32")
    inputs = params, carry, xs.astype("bfloat16"), None
    with jax.numpy_dtype_promotion("standard"):
        got, want = (_run(f, "gru")(inputs, MASKS["all"]) for f in (scan, _plain))
    chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_equal_dtypes(got, want)


def test_the_weight_gradient_is_one_product_after_the_scan():
    """No accumulator of a weight's shape is carried through the backward loop."""
    params, carry, _, _ = _inputs("gru", "float32")
    inputs = jnp.zeros((B, T, 3 * D))

    def carried(run):
        slope = jax.grad(lambda p: run(gru_recur, p, carry, inputs)[1].sum())
        equations = _equations(jax.make_jaxpr(slope)(params).jaxpr)
        loops = [e for e in equations if e.primitive.name == "scan"]
        return {v.aval.shape for loop in loops for v in loop.outvars}

    weights = {params.u_gates.shape, params.u_candidate.shape}
    assert weights <= carried(_plain)
    assert weights.isdisjoint(carried(scan))


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def test_new_numbers_do_not_recompile():
    params, carry, xs, _ = _inputs("gru", "float32")
    traces = []

    def cell(*arguments):
        traces.append(1)
        return gru(*arguments)

    slope = jax.jit(jax.grad(lambda p, x, m: scan(cell, p, carry, x, mask=m)[1].sum()))
    slope(params, xs, MASKS["after"])
    count = len(traces)
    slope(params, xs + 1, MASKS["before"])
    assert len(traces) == count


def test_devices_share_a_batch():
    """shard_map sums the gradient of the shared weights, pmap leaves that to us."""
    params, carry, xs, _ = _inputs("gru", "float32")

    def slope(params, xs):
        start = jnp.zeros((xs.shape[0], D))  # does not differ by device; xs does
        return jax.grad(lambda p: scan(gru, p, start, xs)[1].sum())(params)

    want = slope(params, xs)
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    one, data = PartitionSpec(), PartitionSpec("data")
    sharded = jax.shard_map(slope, mesh=mesh, in_specs=(one, data), out_specs=one)
    chex.assert_trees_all_close(
        jax.jit(sharded)(params, xs), want, rtol=1e-5, atol=1e-6
    )
    parts = jax.pmap(slope, in_axes=(None, 0))(params, xs[:, None])
    summed = jax.tree.map(lambda x: x.sum(0), parts)
    chex.assert_trees_all_close(summed, want, rtol=1e-5, atol=1e-6)
    del carry


def test_a_wrong_shape_names_the_argument():
    params, carry, xs, _ = _inputs("gru", "float32")
    with pytest.raises(
        ValueError, match=r"^mask: expected shape \[2, 4\], got \[4, 2\] \("
    ):
        scan(gru, params, carry, xs, mask=jnp.ones((T, B), bool))
    with pytest.raises(
        ValueError, match=r"^xs: expected leaves \[B, T, \.\.\.\] of one B"
    ):
        scan(gru, params, carry, (xs, xs[:, 1:]))
    with pytest.raises(
        ValueError, match=r"^xs: expected leaves \[B, T, \.\.\.\] of one B"
    ):
        scan(gru, params, carry, jnp.ones(3))
    with pytest.raises(TypeError, match=r"^mask: expected a boolean mask"):
        scan(gru, params, carry, xs, mask=jnp.ones((B, T)))
