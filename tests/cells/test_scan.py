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

from attnjax.cells._products import trace
from attnjax.cells.alignments import ALIGNMENTS
from attnjax.cells.gru import gru
from attnjax.cells.lstm import LSTMState, lstm
from attnjax.cells.luong import LuongParams, LuongState, luong
from attnjax.cells.rnnsearch import rnnsearch, start_at
from attnjax.cells.scan import bidirectional, scan
from attnjax.core import precision
from attnjax.core.attend import Memory
from tests.arg_specs import TINY_DECODER
from tests.cells.papers import (
    alignment_shapes,
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
    "matmul": (precision.matmul, 1),
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
        name: rnnsearch(params[name], carry[name], x, memory=memory[name], alignment=a)
        for name, a in ALIGNMENTS.items()
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
        feeding = LuongParams(lstm_weights, draw(87, D, 4 * D), draw(88, E + D, D))
        search = gru_shapes(M, D, E, "decoder.") | alignment_shapes(D, E, A)
        searches = {n: rnnsearch_params(draw_dict(0, search), n) for n in ALIGNMENTS}
        values = jnp.asarray(draw(91, B, S, E))
        mask = np.arange(S) < np.array([[S], [S - 2]])
        memories = {
            name: Memory(aligner.keys(searches[name].alignment, values), values, mask)
            for name, aligner in ALIGNMENTS.items()
        }
        uses = {n: draw(100 + i, D, D) for i, n in enumerate(USES)}
        states = {n: draw(200 + i, B, D) for i, n in enumerate(USES)}
        cases = {
            "gru": Case(gru, gru_params(draw_dict(2, gru_shapes(M, D))), state, M),
            "lstm": Case(lstm, lstm_weights, pair, M),
            "uses": Case(
                all_uses,
                (uses, draw(86, D), np.int32(7), None),
                (states, np.zeros(B, np.int32)),
                M,
            ),
            "aligners": Case(
                all_aligners,
                searches,
                {name: start_at(jnp.asarray(state)) for name in ALIGNMENTS},
                3 * D,
                memories,
            ),
            "luong": Case(
                luong,
                feeding,
                LuongState(pair, draw(89, B, D)),
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
each_cell = pytest.mark.parametrize("name", CASES)


def _inputs(name, dtype="float64"):
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


def _total(run, name, inputs, mask, reverse=False):
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
def _run(run, name, reverse=False):
    """Jitted result, and gradient of its total in all arguments.

    Compiled once per scan, cell and direction; the mask is an argument.
    """

    def call(inputs, mask):
        total = partial(_total, run, name, reverse=reverse)
        slope = jax.value_and_grad(total, has_aux=True, allow_int=True)
        (_, result), slopes = slope(inputs, mask)
        return result, jax.tree.map(_drop_float0, slopes)

    return jax.jit(call)


@pytest.mark.parametrize(
    ("name", "reverse"), [*((n, False) for n in CASES), ("gru", True), ("uses", True)]
)
def test_is_plain_scan_in_value_and_gradient(name, reverse):
    with jax.enable_x64(True):
        inputs = _inputs(name)
        for mask in MASKS.values():
            got = _run(scan, name, reverse)(inputs, mask)
            want = _run(_plain, name, reverse)(inputs, mask)
            chex.assert_trees_all_close(got, want, rtol=1e-10, atol=1e-12)
            chex.assert_trees_all_equal_shapes_and_dtypes(got, want)


@pytest.mark.parametrize("name", ["uses", "aligners"])
def test_is_plain_scan_in_forward_mode(name):
    def tangents(run, inputs):
        floating, structure = _floats(inputs)
        moved = [jnp.cos(7 * x) for x in floating]
        total = lambda floats: _total(run, name, structure(floats), MASKS["after"])[0]
        return jax.jvp(total, (floating,), (moved,))

    with jax.enable_x64(True):
        got, want = (
            jax.jit(partial(tangents, f))(_inputs(name)) for f in (scan, _plain)
        )
    chex.assert_trees_all_close(got, want, rtol=1e-10)


def _floats(tree):
    """The floating leaves of a tree, and how to put others in their place."""
    leaves, structure = jax.tree.flatten(tree)
    floating = [
        i for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.floating)
    ]

    def put(new):
        both = dict(enumerate(leaves)) | dict(zip(floating, new, strict=True))
        return structure.unflatten(both.values())

    return [leaves[i] for i in floating], put


def test_is_plain_scan_in_second_derivatives_and_under_vmap():
    """Of a batch of weights, the product of the Hessian with a vector."""

    def products(run, inputs):
        def slope(params):
            return jax.grad(lambda p: _total(run, "gru", (p, *inputs[1:]), None)[0])(
                params
            )

        def forward_over_reverse(scale):
            scaled = jax.tree.map(lambda x: x * scale, inputs[0])
            return jax.jvp(slope, (scaled,), (inputs[0],))[1]

        return jax.vmap(forward_over_reverse)(jnp.array([1.0, 0.5]))

    with jax.enable_x64(True):
        got, want = (
            jax.jit(partial(products, f))(_inputs("gru")) for f in (scan, _plain)
        )
    chex.assert_trees_all_close(got, want, rtol=1e-10, atol=1e-12)


def test_no_mask_is_a_mask_of_all():
    with jax.enable_x64(True):
        inputs = _inputs("gru")
        got, want = (_run(scan, "gru")(inputs, mask) for mask in (None, MASKS["all"]))
    chex.assert_trees_all_close(got, want, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("gru", "float32"),
        ("gru", "bfloat16"),
        ("luong", "bfloat16"),
        ("uses", "bfloat16"),
    ],
)
def test_lower_precisions_are_kept_and_near(name, dtype):
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


@pytest.mark.parametrize("use", ["matmul", "operator", "left", "transpose"])
def test_low_precision_gradients_accumulate_in_float32_over_steps(use):
    """3000 ones: bfloat16 would stop at 256."""
    xs = jnp.ones((1, 3000, 2), "bfloat16")
    w = jnp.ones((2, 3), "bfloat16") if use in ("matmul", "operator") else None
    w = jnp.ones((3, 2) if use == "left" else (2, 3), "bfloat16") if w is None else w
    cell = lambda w, carry, x: (carry, USES[use][0](w, x))
    slope = jax.grad(lambda w: scan(cell, w, jnp.zeros((1, 1)), xs)[1].sum())(w)
    np.testing.assert_allclose(slope.astype("float32"), 3000, rtol=2**-8)


@each_cell
def test_padding_never_moves_the_carry(name):
    """A row cut to its length, and the same row with poisoned padding after it."""
    with jax.enable_x64(True):
        params, carry, xs, memory = inputs = _inputs(name)
        mask = np.broadcast_to(np.arange(T) < 2, (B, T))
        (carry, ys), slopes = _run(scan, name)(inputs, mask)
        bad = params, inputs[1], xs.at[:, 2:].set(1e6), memory
        (padded, padded_ys), padded_slopes = _run(scan, name)(bad, mask)
    chex.assert_trees_all_equal((padded, padded_ys), (carry, ys))
    chex.assert_trees_all_equal(padded_slopes, slopes)
    assert not any(y[:, 2:].any() for y in jax.tree.leaves(ys))
    assert (slopes[2][:, 2:] == 0).all()


@each_cell
def test_a_row_without_steps_keeps_its_carry(name):
    with jax.enable_x64(True):
        inputs = _inputs(name)
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


@pytest.mark.parametrize("use", USES)
def test_products_with_weights_are_found(use):
    program = trace(
        partial(one_use, use), jnp.ones((D, D)), jnp.ones(D), jnp.ones(M), None
    )
    assert len(program.products) == USES[use][1]


@pytest.mark.parametrize("use", ["matmul", "left", "vmap", "checkpoint", "activation"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_gradient_of_a_weight_is_accumulated_in_the_loop(use, dtype):
    """No array of a weight's shape is carried through the backward loop."""
    w, carry, xs = (jnp.ones(s, dtype) for s in ((D, D), (B, D), (B, T, M)))

    def carried(run):
        slope = jax.grad(lambda w: run(partial(one_use, use), w, carry, xs)[0].sum())
        loops = [
            equation
            for equation in _equations(jax.make_jaxpr(slope)(w).jaxpr)
            if equation.primitive.name == "scan"
        ]
        return {v.aval.shape for loop in loops for v in loop.outvars}

    assert (D, D) in carried(_plain)
    assert (D, D) not in carried(scan)


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


TRACES = []


def counted(params, carry, x, *, scale):
    """A GRU that counts how often it is traced."""
    TRACES.append(1)
    return gru(params, carry, x * scale)


@pytest.mark.parametrize("wrap", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_new_numbers_do_not_recompile(wrap):
    """Nor does a new `partial` of the same function, as a model makes at each call."""
    params, carry, xs, _ = _inputs("gru", "float32")
    slope = wrap(
        jax.grad(
            lambda p, x, mask: scan(
                partial(counted, scale=2.0), p, carry, x, mask=mask
            )[1].sum()
        )
    )
    first = slope(params, xs, MASKS["after"])
    count = len(TRACES)
    second = slope(params, xs + 1, MASKS["before"])
    assert len(TRACES) == count
    assert (first.w != second.w).any()


def test_a_closure_may_read_traced_arrays_and_new_ones():
    params, carry, xs, _ = _inputs("gru", "float32")
    box = [params]
    cell = lambda _, carry, x: gru(box[0], carry, x)

    def closed(params):
        box[0] = params
        return scan(cell, None, carry, xs)[1].sum()

    got = [closed(params), closed(jax.tree.map(jnp.zeros_like, params))]
    np.testing.assert_allclose(got[0], scan(gru, params, carry, xs)[1].sum(), rtol=1e-6)
    assert got[0] != got[1]
    got = jax.jit(jax.grad(closed))(params)
    want = jax.grad(lambda p: scan(gru, p, carry, xs)[1].sum())(params)
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [jnp.ones(1), [1.0]])
def test_a_partial_of_what_has_no_hash_is_no_key(value):
    params, carry, xs, _ = _inputs("gru", "float32")
    cell = partial(counted, scale=jnp.asarray(value)[0])
    got = scan(cell, params, carry, xs)
    del value
    chex.assert_trees_all_close(got, scan(gru, params, carry, xs), rtol=1e-6)


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


def test_a_derivative_of_ones_own_is_kept_and_has_one_mode():
    w, carry, xs = (
        jnp.asarray(draw(i, *s)) for i, s in enumerate([(D, D), (B, D), (B, T, M)])
    )
    total = lambda run, w: run(own_derivative, w, carry, xs)[0].sum()
    got, want = (jax.grad(partial(total, f))(w) for f in (scan, _plain))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(partial(total, scan), (w,), (w,))


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
    with pytest.raises(TypeError, match=r"^cell: expected to return a pair \(carry, y"):
        scan(lambda params, carry, x: carry, params, carry, xs)
    with pytest.raises(
        TypeError,
        match=r"^cell: expected to return a carry like the one it takes, "
        r"float32\[3\], got float32\[1\] \(",
    ):
        scan(lambda params, carry, x: (carry[:1], x), params, carry, xs)
