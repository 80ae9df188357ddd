"""One file decides compute and accumulation dtypes: what it promises."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from attnjax.core import precision
from tests.core.cases import draw

pytestmark = pytest.mark.versions

SHAPES = [((5,), (5,)), ((5,), (5, 3)), ((7, 5), (5,)), ((7, 5), (5, 3))]
SHAPES += [((2, 7, 5), (5, 3)), ((2, 7, 5), (5,)), ((3, 2, 7, 5), (5, 11))]
each_low_precision = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
each_shape = pytest.mark.parametrize(("x", "w"), SHAPES)


@each_shape
def test_matmul_is_numpys_in_value_and_gradient(x, w):
    x, w = draw(0, *x), draw(1, *w)
    with jax.enable_x64(True):
        y, pullback = jax.vjp(precision.matmul, jnp.asarray(x), jnp.asarray(w))
        g = draw(2, *y.shape)
        dx, dw = pullback(jnp.asarray(g))
    np.testing.assert_allclose(y, x @ w, rtol=1e-12, atol=1e-13)
    columns = g[..., None] if w.ndim == 1 else g
    matrix = w[:, None] if w.ndim == 1 else w
    np.testing.assert_allclose(dx, columns @ matrix.T, rtol=1e-12, atol=1e-13)
    want = x.reshape(-1, 5).T @ columns.reshape(-1, matrix.shape[1])
    np.testing.assert_allclose(dw, want.reshape(w.shape), rtol=1e-12, atol=1e-13)


@each_shape
@each_low_precision
def test_low_precision_products_are_rounded_float32_ones(x, w, dtype):
    x, w = jnp.asarray(draw(0, *x), dtype), jnp.asarray(draw(1, *w), dtype)
    y, pullback = jax.vjp(precision.matmul, x, w)
    g = jnp.asarray(draw(2, *y.shape), dtype)
    exact = [a.astype("float32") for a in (x, w)]
    want, exact_pullback = jax.vjp(precision.matmul, *exact)
    got, want = (y, *pullback(g)), (want, *exact_pullback(g.astype("float32")))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype
        # It accumulates in float32: the only error is the rounding of the result.
        np.testing.assert_allclose(
            a.astype("float32"), b, rtol=2 * jnp.finfo(dtype).eps, atol=1e-6
        )


@each_low_precision
def test_three_thousand_rows_accumulate_in_float32_backwards_too(dtype):
    x, w = jnp.ones((3000, 1), dtype), jnp.ones((1, 1), dtype)
    _, pullback = jax.vjp(precision.matmul, x, w)
    _, dw = pullback(jnp.ones((3000, 1), dtype))
    np.testing.assert_allclose(dw.astype("float32"), 3000, rtol=2**-8)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_matmul_under_vmap_is_a_loop(dtype):
    x, w = jnp.asarray(draw(0, 3, 7, 5), dtype), jnp.asarray(draw(1, 3, 5, 2), dtype)

    def summed(x, w):
        return precision.matmul(x, w).astype("float32").sum()

    got = jax.vmap(jax.grad(summed, argnums=(0, 1)))(x, w)
    for i in range(3):
        want = jax.grad(summed, argnums=(0, 1))(x[i], w[i])
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(
                a[i].astype("float32"), b.astype("float32"), rtol=2**-7
            )


@each_low_precision
@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (2, 2)])
def test_rows_may_be_shared_by_what_is_mapped(shape, dtype):
    """Gradients of several targets for the same inputs."""
    w, gs = jnp.ones(shape, dtype), jnp.asarray(draw(0, 4, 7, shape[1]), dtype)
    x = jnp.asarray(draw(1, 7, shape[0]), dtype)
    _, pullback = jax.vjp(precision.matmul, x, w)
    for got, want in zip(
        jax.vmap(pullback)(gs),
        map(jnp.stack, zip(*map(pullback, gs), strict=True)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


@each_low_precision
@pytest.mark.parametrize("transposed", [False, True])
def test_what_mapped_rows_share_has_one_product_for_gradient(transposed, dtype):
    """As keys and values do, which all queries of `attend` share."""
    T, S = 3000, 3

    def mapped(x, w):
        return jax.vmap(lambda x: precision.matmul(x, w.T if transposed else w))(x)

    x, w = jnp.ones((T, 2), dtype), jnp.ones((S, 2) if transposed else (2, S), dtype)
    g = jnp.ones((T, S), dtype)
    _, pullback = jax.vjp(mapped, x, w)
    np.testing.assert_allclose(pullback(g)[1].astype("float32"), T, rtol=2**-8)
    jaxpr = str(jax.make_jaxpr(pullback)(g))
    assert jaxpr.count("dot_general") == 2
    assert "reduce_sum" not in jaxpr


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
@pytest.mark.parametrize("known", [0, 1, None])
def test_derivatives_of_all_orders_and_modes_agree(shape, known):
    x, w = draw(0, 4, shape[0]), draw(1, *shape)

    def loss(*free):
        both = free if known is None else (free[0], w) if known else (x, free[0])
        return jnp.sum(jnp.sin(precision.matmul(*both)))

    with jax.enable_x64(True):
        free = (x, w) if known is None else (x,) if known else (w,)
        jax.test_util.check_grads(loss, free, order=2, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_the_tangent_of_a_weight_transposes_to_its_gradient(shape, dtype):
    x, dw = (
        jnp.asarray(draw(i, *s), dtype) for i, s in enumerate([(7, shape[0]), shape])
    )
    g = jnp.asarray(draw(2, 7, shape[1]), dtype)
    dy, transpose = jax.vjp(lambda dw: precision.weight_tangent(x, dw), dw)
    np.testing.assert_array_equal(dy, precision.matmul(x, dw))
    np.testing.assert_array_equal(*transpose(g), precision.weight_gradient(x, g))


def test_mixed_inputs_meet_in_the_promoted_dtype():
    x, w = jnp.ones((2, 3), "bfloat16"), jnp.ones((3, 2), "float32")
    y, pullback = jax.vjp(precision.matmul, x, w)
    assert y.dtype == jnp.float32
    assert [g.dtype for g in pullback(y)] == [x.dtype, w.dtype]


def test_float32_products_differentiate_forwards():
    x, w = jnp.ones((2, 3)), jnp.ones((3, 2))
    _, tangent = jax.jvp(precision.matmul, (x, w), (x, w))
    np.testing.assert_allclose(tangent, np.full((2, 2), 6.0))


def test_sums_are_taken_in_at_least_float32():
    with jax.enable_x64(True):
        for dtype, accumulate_dtype in {
            "bfloat16": "float32",
            "float16": "float32",
            "float32": "float32",
            "float64": "float64",
        }.items():
            assert jnp.dtype(precision.accumulation_dtype(dtype)) == accumulate_dtype
            assert precision.upcast(jnp.ones(2, dtype)).dtype == accumulate_dtype


@pytest.mark.parametrize(
    ("x", "w", "message"),
    [
        ((2, 3), (4, 5), r"^w: expected shape \[3, \.\.\.\], got \[4, 5\] \("),
        ((), (4, 5), r"^w: expected shape \[\?, \.\.\.\], got \[4, 5\] \("),
        ((2, 3), (), r"^w: expected shape \[3, \.\.\.\], got \[\] \("),
    ],
)
def test_sizes_that_do_not_meet_are_named(x, w, message):
    with pytest.raises(ValueError, match=message):
        precision.matmul(jnp.ones(x), jnp.ones(w))


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_workarounds_are_those_of_the_platform_lowered_for(platform, dtype):
    """Not those of the host that traces: here it is a CPU."""
    x, w = jnp.ones((4, 5), dtype), jnp.ones((5, 3), dtype)
    rows = jax.vmap(precision.matmul, (0, None))  # one row a call, as in attention

    def loss(x, w):
        both = rows(x, w) + precision.matmul(x, w)
        return precision.upcast(both).sum()

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    lowered = gradient.trace(x, w).lower(lowering_platforms=(platform,)).as_text()
    dots = [line for line in lowered.splitlines() if "dot_general" in line]
    assert dots
    operands = [line.partition(":")[2].partition("->")[0] for line in dots]
    if platform == "cpu":
        assert "optimization_barrier" in lowered
        assert any("bf16" not in operand for operand in operands)  # upcast
    else:
        assert "optimization_barrier" not in lowered
        assert all(("bf16" in o) == (dtype == "bfloat16") for o in operands)
