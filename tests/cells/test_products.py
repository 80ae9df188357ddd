"""Which products of a cell have their weight's gradient computed after the loop."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.cells._products import trace
from attnjax.cells.scan import scan
from tests.cells.scan_cases import (
    USES,
    B,
    D,
    M,
    T,
    one_use,
    own_derivative,
    plain_scan,
)
from tests.core.cases import draw


@pytest.mark.parametrize("use", ["matmul", "operator", "left", "einsum"])
def test_low_precision_gradients_accumulate_in_float32_over_steps(use):
    """3000 ones: bfloat16 would stop at 256."""
    xs = jnp.ones((1, 3000, 2), "bfloat16")
    w = jnp.ones((3, 2) if use == "left" else (2, 3), "bfloat16")

    def total(w):
        cell = lambda w, carry, x: (carry, USES[use][0](w, x))  # noqa: E731
        return scan(cell, w, jnp.zeros((1, 1)), xs)[1].sum()

    gradient = jax.grad(total)(w)
    np.testing.assert_allclose(gradient.astype("float32"), 3000, rtol=2**-8)


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
        gradient = jax.grad(lambda w: run(partial(one_use, use), w, carry, xs)[0].sum())
        loops = [
            equation
            for equation in _equations(jax.make_jaxpr(gradient)(w).jaxpr)
            if equation.primitive.name == "scan"
        ]
        return {v.aval.shape for loop in loops for v in loop.outvars}

    assert (D, D) in carried(plain_scan)
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


def test_a_derivative_of_ones_own_is_kept_and_has_one_mode():
    w, carry, xs = (
        jnp.asarray(draw(i, *s)) for i, s in enumerate([(D, D), (B, D), (B, T, M)])
    )

    def total(run, w):
        return run(own_derivative, w, carry, xs)[0].sum()

    got, want = (jax.grad(partial(total, f))(w) for f in (scan, plain_scan))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(partial(total, scan), (w,), (w,))
