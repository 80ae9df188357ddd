"""The contract of every attention function, as laws over scores and weightings."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from attnjax.core.attend import attend
from tests import oracles
from tests.conftest import TOLERANCE
from tests.core.cases import (
    CASES,
    EMPTY,
    MASK,
    SCORES,
    WEIGHTINGS,
    D,
    E,
    S,
    T,
    draw,
    each_case,
)

pytestmark = pytest.mark.versions

F32 = TOLERANCE["float32"]
ORDER = np.array([3, 0, 6, 4, 1, 5, 2])


# --- laws of the mathematics --------------------------------------------------


@each_case
def test_permuting_keys_permutes_weights_and_keeps_context(case):
    query, keys, values = case.inputs()
    plain = case.attend(query, keys, values, MASK)
    moved = case.attend(query, keys[ORDER], values[ORDER], MASK[ORDER])
    np.testing.assert_allclose(moved.weights, plain.weights[ORDER], F32, 1e-7)
    np.testing.assert_allclose(moved.context, plain.context, F32, 1e-6)


@each_case
def test_matches_the_papers_in_float64(case):
    with jax.enable_x64(True):
        inputs = case.inputs("float64")
        got = case.plain(*inputs, MASK)  # eager: float64 kernels are shared
    query, keys, values = map(np.asarray, inputs)
    weights = case.weighting_oracle(case.score_oracle(query, keys), MASK)
    np.testing.assert_allclose(got.weights, weights, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        got.context, oracles.read(weights, values), rtol=1e-12, atol=1e-13
    )


@each_case
def test_gradient_is_the_finite_difference(case):
    with jax.enable_x64(True):
        inputs = case.inputs("float64")
        gradients = jax.grad(case.objective, (0, 1, 2))(*inputs, MASK)
        for i, gradient in enumerate(gradients):
            # An entry that is wrong shows along any random direction.
            along = draw(20 + i, 3, *inputs[i].shape)

            def nudged(steps, i=i, along=along):
                moved = inputs[i] + np.tensordot(steps, along, axes=1)
                return float(case.objective(*inputs[:i], moved, *inputs[i + 1 :], MASK))

            want = oracles.numerical_gradient(nudged, np.zeros(3))
            got = np.tensordot(along, np.asarray(gradient), gradient.ndim)
            # Truncation is step^2 = 1e-10, rounding 1e-16 / step = 1e-11, times
            # the size of a direction.
            np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-8)


@each_case
def test_weights_are_shares(case):
    got = case.attend(*case.inputs(), MASK).weights
    assert ((got >= 0) & (got <= 1)).all()
    assert (got[~MASK] == 0).all()
    if case.sums_to_one:
        np.testing.assert_allclose(got.sum(), 1, F32)


@each_case
def test_bias_is_added_to_the_scores(case):
    query, keys, values = case.inputs()
    bias = jnp.linspace(-1.0, 1.0, S)

    def biased(q, k):
        return case.score(q, k) + bias

    got = case.plain(query, keys, values, MASK, bias=bias)
    want = case.plain(query, keys, values, MASK, score=biased)
    chex.assert_trees_all_close(got, want, rtol=F32)


# --- laws of masks ------------------------------------------------------------


@each_case
def test_poisoned_padding_changes_nothing(case):
    query, keys, values = case.inputs()
    bad = keys.at[~MASK].set(1e6), values.at[~MASK].set(-1e6)
    chex.assert_trees_all_equal(
        case.attend(query, *bad, MASK), case.attend(query, keys, values, MASK)
    )
    got = case.gradients(query, *bad, MASK)
    assert (got[1][~MASK] == 0).all()
    assert (got[2][~MASK] == 0).all()
    want = case.gradients(query, keys, values, MASK)
    chex.assert_trees_all_close(got, want, rtol=F32, atol=1e-6)


@each_case
def test_masked_keys_might_as_well_not_be_there(case):
    query, keys, values = case.inputs()
    got = case.attend(query, keys, values, MASK)
    want = case.plain(query, keys[MASK], values[MASK])
    np.testing.assert_allclose(got.weights[MASK], want.weights, F32, 1e-7)
    np.testing.assert_allclose(got.context, want.context, F32, 1e-6)


@each_case
def test_an_empty_row_reads_nothing_and_learns_nothing(case):
    inputs = case.inputs()
    assert not jax.tree.reduce(
        jnp.add, jax.tree.map(jnp.any, case.attend(*inputs, EMPTY))
    )
    for gradient in case.gradients(*inputs, EMPTY):
        assert (gradient == 0).all()


@each_case
def test_an_empty_row_makes_no_nan_inside(case):
    with jax.debug_nans(True), jax.debug_infs(True), jax.disable_jit():
        value, gradients = jax.value_and_grad(case.objective, (0, 1, 2))(
            *case.inputs(), EMPTY
        )
    assert value == 0
    assert not any(gradient.any() for gradient in gradients)


@each_case
def test_no_keys_at_all_is_an_empty_row(case):
    query, keys, values = case.inputs()
    got = case.plain(query, keys[:0], values[:0])
    assert got.weights.shape == (0,)
    np.testing.assert_array_equal(got.context, np.zeros(E))


@each_case
def test_zero_inputs_have_a_finite_gradient(case):
    inputs = [jnp.zeros_like(x) for x in case.inputs()]
    chex.assert_tree_all_finite(case.gradients(*inputs, MASK))


# --- laws of dtypes -----------------------------------------------------------


@each_case
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_the_dtype_of_the_inputs_is_kept(case, dtype):
    with jax.enable_x64(True):
        inputs = case.inputs(dtype)
        shapes = jax.eval_shape(case.plain, *inputs, MASK)
        gradients = jax.eval_shape(jax.grad(case.objective), *inputs, MASK)
        assert {x.dtype.name for x in (*shapes, gradients)} == {dtype}


@each_case
def test_mixed_inputs_give_the_promoted_dtype(case):
    query, keys, values = case.inputs()
    with jax.numpy_dtype_promotion("standard"):
        got = jax.eval_shape(
            case.plain, query.astype("bfloat16"), keys, values.astype("bfloat16")
        )
    assert got.context.dtype == jnp.float32


@each_case
def test_low_precision_stays_near_float32(case):
    low = case.inputs("bfloat16")
    full = [x.astype("float32") for x in low]
    got, want = case.plain(*low, MASK), case.attend(*full, MASK)
    # Scores of about 3 carry 3 x 2^-9 of rounding, which exp and the weighted
    # sum of normal values pass on: 5e-2 is some four such roundings.
    chex.assert_trees_all_close(
        jax.tree.map(lambda x: x.astype("float32"), got), want, rtol=0, atol=5e-2
    )


# --- laws of composition ------------------------------------------------------


@each_case
def test_jit_is_eager(case):
    inputs = case.inputs()
    chex.assert_trees_all_close(
        case.attend(*inputs, MASK), case.plain(*inputs, MASK), rtol=F32, atol=1e-6
    )


@each_case
def test_vmap_and_scan_are_a_loop(case):
    queries, keys, values = case.inputs(targets=T)
    masks = np.stack([MASK, ~MASK, EMPTY, ~EMPTY, MASK[::-1]])

    def scanned(carry, x):
        return carry, case.plain(x[0], keys, values, x[1])

    batched = jax.vmap(case.plain, in_axes=(0, None, None, 0))
    mapped, (_, over_time) = jax.jit(
        lambda q, m: (
            batched(q, keys, values, m),
            jax.lax.scan(scanned, None, (q, m)),
        )
    )(queries, masks)
    loop = [case.attend(queries[t], keys, values, masks[t]) for t in range(T)]
    loop = jax.tree.map(lambda *x: jnp.stack(x), *loop)
    chex.assert_trees_all_close(mapped, loop, rtol=F32, atol=1e-6)
    chex.assert_trees_all_close(over_time, loop, rtol=F32, atol=1e-6)


@each_case
def test_asking_for_the_weights_never_changes_the_context(case):
    inputs = case.inputs()
    alone = jax.jit(lambda *x: case.plain(*x).context)(*inputs, MASK)
    np.testing.assert_array_equal(alone, case.attend(*inputs, MASK).context)


def _two_rows(case):
    queries, keys, values = case.inputs(targets=2)
    return queries, jnp.stack([keys, -keys]), jnp.stack([values, values + 1])


@each_case
def test_shard_map_shares_a_batch(case):
    devices = np.array(jax.devices()[:2])
    assert len(devices) == 2, "tests/conftest.py asks for two"
    batched, data = jax.vmap(case.plain), PartitionSpec("data")
    sharded = jax.shard_map(
        batched, mesh=Mesh(devices, ("data",)), in_specs=data, out_specs=data
    )
    got, want = jax.jit(lambda *x: (sharded(*x), batched(*x)))(*_two_rows(case))
    chex.assert_trees_all_close(got, want, rtol=F32, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("score", SCORES)
def test_shard_map_sums_the_gradient_of_what_is_shared(score, dtype):
    """Queries differ by device, the memory does not: its gradient is the sum."""
    case = CASES[f"{score}-masked_softmax"]
    queries, keys, values = case.inputs(dtype, targets=2)
    one, data = PartitionSpec(), PartitionSpec("data")

    def gradient(queries, keys, values):
        def total(k, v):
            mapped = jax.vmap(case.objective, (0, None, None, None))
            return mapped(queries, k, v, MASK).astype("float32").sum()

        return jax.grad(total, (0, 1))(keys, values)

    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    sharded = jax.shard_map(
        gradient, mesh=mesh, in_specs=(data, one, one), out_specs=one
    )
    got, want = jax.jit(lambda *x: (sharded(*x), gradient(*x)))(queries, keys, values)
    # The sum over devices is rounded once more.
    rtol, atol = (F32, 1e-6) if dtype == "float32" else (2**-6, 2**-7)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a.astype("float32"), b.astype("float32"), rtol, atol)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_pmap_shares_a_batch(weighting):
    case = CASES[f"additive-{weighting}"]
    rows = _two_rows(case)
    got = (
        jax.pmap(case.plain)(*rows),
        jax.pmap(case.gradients)(*rows, np.stack([MASK] * 2)),
    )
    for i in range(2):
        row = [x[i] for x in rows]
        want = case.plain(*row), case.gradients(*row, MASK)
        chex.assert_trees_all_close(
            jax.tree.map(lambda x, i=i: x[i], got), want, rtol=F32, atol=1e-6
        )


@each_case
def test_new_numbers_do_not_recompile(case):
    inputs = case.inputs()
    for mask in (MASK, ~MASK, EMPTY):
        case.attend(*inputs, mask)
        compiled = case.attend._cache_size()
        case.attend(*jax.tree.map(jnp.negative, inputs), mask)
        assert case.attend._cache_size() == compiled


# --- error text ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"query": jnp.ones((T, D))},
            ValueError,
            r"^query: expected shape \[D\], got \[5, 11\] \(a batch\? wrap the call "
            r"in jax\.vmap\)",
        ),
        (
            {"values": jnp.ones((S - 1, E))},
            ValueError,
            r"^values: expected shape \[S=7, E\], got \[6, 13\] \(",
        ),
        (
            {"mask": jnp.ones(S - 1, bool)},
            ValueError,
            r"^mask: expected shape \[S=7\], got \[6\] \(",
        ),
        (
            {"bias": jnp.ones(1)},
            ValueError,
            r"^bias: expected shape \[S=7\], got \[1\] \(",
        ),
        (
            {"mask": jnp.ones(S)},
            TypeError,
            r"^mask: expected a boolean mask \(True = attend\), got float32 .*`bias`",
        ),
        (
            {"mask": jnp.ones(S, jnp.int32)},
            TypeError,
            r"^mask: expected a boolean mask \(True = attend\), got int32 \(",
        ),
        (
            {"keys": jnp.ones((S, D), jnp.int32)},
            TypeError,
            r"^keys: expected float values, got int32 \(",
        ),
        (
            {"values": [[1.0]] * S},
            TypeError,
            r"^values: expected an array, got list \(",
        ),
        (
            {"keys": jnp.ones((S, D + 1))},
            ValueError,
            r"^keys: expected shape \[S, D=11\], got \[7, 12\] \(",
        ),
    ],
)
def test_bad_input_is_told_what_to_do(changes, error, message):
    good = {
        "query": jnp.ones(D),
        "keys": jnp.ones((S, D)),
        "values": jnp.ones((S, E)),
        "mask": jnp.ones(S, bool),
    }
    with pytest.raises(error, match=message):
        attend(**(good | changes))


def test_bad_input_is_told_at_trace_time():
    with pytest.raises(ValueError, match=r"^query: .* wrap the call in jax\.vmap"):
        jax.jit(attend)(jnp.ones((T, D)), jnp.ones((S, D)), jnp.ones((S, E)))
