"""A cell over time has the numbers and gradients of plain `lax.scan`."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from attnjax.cells.gru import gru
from attnjax.cells.scan import bidirectional, scan
from tests.cells.scan_cases import (
    CASES,
    MASKS,
    B,
    D,
    T,
    inputs_of,
    plain_scan,
    run_case,
    total_of,
)

pytestmark = pytest.mark.versions

each_cell = pytest.mark.parametrize("name", CASES)


@pytest.mark.parametrize(
    ("name", "reverse"), [*((n, False) for n in CASES), ("gru", True)]
)
def test_is_plain_scan_in_value_and_gradient(name, reverse):
    with jax.enable_x64(True):
        inputs = inputs_of(name)
        for mask in MASKS.values():
            got = run_case(scan, name, reverse)(inputs, mask)
            want = run_case(plain_scan, name, reverse)(inputs, mask)
            chex.assert_trees_all_close(got, want, rtol=1e-10, atol=1e-12)
            chex.assert_trees_all_equal_shapes_and_dtypes(got, want)


@pytest.mark.parametrize(("rows", "steps"), [(2, 0), (0, 3)])
def test_is_plain_scan_without_rows_or_steps(rows, steps):
    params, carry, xs, memory = inputs_of("gru", "float32")
    cut = partial(jax.tree.map, lambda x: x[:rows])
    inputs = params, cut(carry), jax.tree.map(lambda x: x[:rows, :steps], xs), memory
    got, want = (run_case(f, "gru")(inputs, None) for f in (scan, plain_scan))
    chex.assert_trees_all_equal(got, want)


def test_is_plain_scan_in_forward_mode():
    def tangents(run, inputs):
        floating, put = _floats(inputs)
        moved = [jnp.cos(7 * x) for x in floating]

        def total(floats):
            return total_of(run, "uses", put(floats), MASKS["after"])[0]

        return jax.jvp(total, (floating,), (moved,))

    with jax.enable_x64(True):
        got, want = (
            jax.jit(partial(tangents, f))(inputs_of("uses")) for f in (scan, plain_scan)
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
        def gradient(params):
            return jax.grad(lambda p: total_of(run, "gru", (p, *inputs[1:]), None)[0])(
                params
            )

        def forward_over_reverse(scale):
            scaled = jax.tree.map(lambda x: x * scale, inputs[0])
            return jax.jvp(gradient, (scaled,), (inputs[0],))[1]

        return jax.vmap(forward_over_reverse)(jnp.array([1.0, 0.5]))

    with jax.enable_x64(True):
        got, want = (
            jax.jit(partial(products, f))(inputs_of("gru")) for f in (scan, plain_scan)
        )
    chex.assert_trees_all_close(got, want, rtol=1e-10, atol=1e-12)


def test_no_mask_is_a_mask_of_all():
    with jax.enable_x64(True):
        inputs = inputs_of("gru")
        got, want = (
            run_case(scan, "gru")(inputs, mask) for mask in (None, MASKS["all"])
        )
    chex.assert_trees_all_close(got, want, rtol=1e-12)


@pytest.mark.parametrize(("name", "dtype"), [("gru", "float32"), ("uses", "bfloat16")])
def test_lower_precisions_are_kept_and_near(name, dtype):
    inputs = inputs_of(name, dtype)
    got, want = (run_case(f, name)(inputs, MASKS["after"]) for f in (scan, plain_scan))
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
    with jax.enable_x64(True):
        params, carry, xs, memory = inputs = inputs_of(name)
        mask = np.broadcast_to(np.arange(T) < 2, (B, T))
        (carry, ys), gradients = run_case(scan, name)(inputs, mask)
        bad = params, inputs[1], xs.at[:, 2:].set(1e6), memory
        (padded, padded_ys), padded_gradients = run_case(scan, name)(bad, mask)
    chex.assert_trees_all_equal((padded, padded_ys), (carry, ys))
    chex.assert_trees_all_equal(padded_gradients, gradients)
    assert not any(y[:, 2:].any() for y in jax.tree.leaves(ys))
    assert not gradients[2][:, 2:].any()


@each_cell
def test_a_row_without_steps_keeps_its_carry(name):
    with jax.enable_x64(True):
        inputs = inputs_of(name)
        (carry, ys), gradients = run_case(scan, name)(inputs, np.zeros((B, T), bool))
    chex.assert_trees_all_equal(carry, inputs[1])
    assert not any(x.any() for x in jax.tree.leaves((ys, gradients[0], gradients[2])))


def test_bidirectional_is_two_scans():
    with jax.enable_x64(True):
        params, carry, xs, _ = inputs_of("gru", "float64")
        other = jax.tree.map(lambda x: -x, params)
        mask = MASKS["after"]
        both = bidirectional(
            gru, (params, other), (carry, carry), (xs, xs + 1), mask=mask
        )
        forward = plain_scan(gru, params, carry, xs, mask=mask)
        backward = plain_scan(gru, other, carry, xs + 1, mask=mask, reverse=True)
        want = tuple(zip(forward, backward, strict=True))
        chex.assert_trees_all_close(both, want, rtol=1e-12)
    # The backward state at a step has seen that step and all after it.
    np.testing.assert_array_equal(both[0][1], both[1][1][:, 0])


def test_inputs_and_weights_of_two_dtypes_meet():
    """Weights may have more bits than the inputs; their gradients have as many."""
    params, carry, xs, _ = inputs_of("gru", "float32")
    inputs = params, carry, xs.astype("bfloat16"), None
    with jax.numpy_dtype_promotion("standard"):
        got, want = (
            run_case(f, "gru")(inputs, MASKS["all"]) for f in (scan, plain_scan)
        )
    chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_equal_dtypes(got, want)


TRACES = []


def counted(params, carry, x, *, scale):
    """A GRU that counts how often it is traced."""
    TRACES.append(1)
    return gru(params, carry, x * scale)


@pytest.mark.parametrize("wrap", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_new_numbers_do_not_recompile(wrap, caplog):
    """Nor does a new `partial` of the same function, as a model makes at each call."""
    params, carry, xs, _ = inputs_of("gru", "float32")

    def total(params, xs, mask):
        cell = partial(counted, scale=2.0)
        return scan(cell, params, carry, xs, mask=mask)[1].sum()

    gradient, others = wrap(jax.grad(total)), xs + 1
    first = gradient(params, xs, MASKS["after"])
    count = len(TRACES)
    with jax.log_compiles():
        second = gradient(params, others, MASKS["before"])
    assert len(TRACES) == count
    assert not [m for m in caplog.messages if "compil" in m.lower()]
    assert first.w.tolist() != second.w.tolist()


def test_a_closure_may_read_traced_arrays_and_new_ones():
    params, carry, xs, _ = inputs_of("gru", "float32")
    box = [params]

    def cell(_, carry, x):
        return gru(box[0], carry, x)

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
    params, carry, xs, _ = inputs_of("gru", "float32")
    cell = partial(counted, scale=jnp.asarray(value)[0])
    got = scan(cell, params, carry, xs)
    del value
    chex.assert_trees_all_close(got, scan(gru, params, carry, xs), rtol=1e-6)


def test_devices_share_a_batch():
    """shard_map sums the gradient of the shared weights, pmap leaves that to us."""
    params, carry, xs, _ = inputs_of("gru", "float32")

    def gradient(params, xs):
        start = jnp.zeros((xs.shape[0], D))  # does not differ by device; xs does
        return jax.grad(lambda p: scan(gru, p, start, xs)[1].sum())(params)

    want = gradient(params, xs)
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    one, data = PartitionSpec(), PartitionSpec("data")
    sharded = jax.shard_map(gradient, mesh=mesh, in_specs=(one, data), out_specs=one)
    chex.assert_trees_all_close(
        jax.jit(sharded)(params, xs), want, rtol=1e-5, atol=1e-6
    )
    parts = jax.pmap(gradient, in_axes=(None, 0))(params, xs[:, None])
    summed = jax.tree.map(lambda x: x.sum(0), parts)
    chex.assert_trees_all_close(summed, want, rtol=1e-5, atol=1e-6)
    del carry


def test_a_wrong_shape_names_the_argument():
    params, carry, xs, _ = inputs_of("gru", "float32")
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
