"""The GRU of the attention paper: reset before the matmul."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.cells.gru import GRUParams, gru, gru_inputs, gru_recur
from tests import oracles
from tests.cells.papers import draw_dict, gru_params, gru_shapes
from tests.core.cases import draw

M, D = 5, 3
PAPER = draw_dict(0, gru_shapes(M, D))
STATE, X = draw(50, D), draw(51, M)


def _ours(p, state, x):
    return gru(gru_params(p), state, x)


def _objective(p, state, x):
    return oracles.gru(p, state, ("W", x)) @ np.cos(np.arange(D))


def test_a_step_matches_the_paper_in_value_and_gradient():
    with jax.enable_x64(True):
        state, output = _ours(PAPER, STATE, X)
        gradients = jax.grad(
            lambda *a: _ours(*a)[0] @ jnp.cos(jnp.arange(3.0)), (0, 1, 2)
        )(PAPER, STATE, X)
    np.testing.assert_array_equal(state, output)
    np.testing.assert_allclose(state, oracles.gru(PAPER, STATE, ("W", X)), rtol=1e-12)
    want = oracles.numerical_gradients(lambda p: _objective(p, STATE, X), PAPER)
    for name, gradient in want.items():
        np.testing.assert_allclose(gradients[0][name], gradient, rtol=1e-7, atol=1e-10)
    for gradient, f, x in (
        (gradients[1], lambda s: _objective(PAPER, s, X), STATE),
        (gradients[2], lambda x: _objective(PAPER, STATE, x), X),
    ):
        want = oracles.numerical_gradient(f, x)
        np.testing.assert_allclose(gradient, want, rtol=1e-7, atol=1e-10)


def test_cho_2014_is_the_same_cell_with_a_negated_update_gate():
    """1406.1078, eq. 7: h = z h + (1 - z) h~."""
    z = oracles.sigma(PAPER["W_z"] @ X + PAPER["U_z"] @ STATE + PAPER["b_z"])
    r = oracles.sigma(PAPER["W_r"] @ X + PAPER["U_r"] @ STATE + PAPER["b_r"])
    new = np.tanh(PAPER["W"] @ X + PAPER["U"] @ (r * STATE) + PAPER["b"])
    negated = PAPER | {k: -PAPER[k] for k in ("W_z", "U_z", "b_z")}
    with jax.enable_x64(True):
        got, _ = _ours(negated, STATE, X)
    np.testing.assert_allclose(got, z * STATE + (1 - z) * new, rtol=1e-12)


def test_flax_resets_after_the_product():
    """Its GRU is another cell; where the reset gate is 1 both agree."""
    cell = nnx.GRUCell(M, D, rngs=nnx.Rngs(0))

    def flax_step(p):
        # flax orders its gates r, z, n and keeps z of the old state.
        w = jnp.concatenate([p.w[:, D : 2 * D], -p.w[:, :D], p.w[:, 2 * D :]], axis=1)
        u = jnp.concatenate(
            [p.u_gates[:, D:], -p.u_gates[:, :D], p.u_candidate], axis=1
        )
        cell.dense_i.kernel[...], cell.dense_h.kernel[...] = w, u
        cell.dense_i.bias[...] = jnp.concatenate(
            [p.b[D : 2 * D], -p.b[:D], p.b[2 * D :]]
        )
        return cell(state, x)[0]

    state, x = jnp.asarray(STATE, "float32"), jnp.asarray(X, "float32")
    p = jax.tree.map(lambda a: a.astype("float32"), gru_params(PAPER))
    assert not np.allclose(gru(p, state, x)[0], flax_step(p), rtol=1e-3)
    is_reset = (jnp.arange(3 * D) >= D) & (jnp.arange(3 * D) < 2 * D)
    p = p._replace(b=jnp.where(is_reset, 100.0, p.b))  # r = 1
    np.testing.assert_allclose(gru(p, state, x)[0], flax_step(p), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_dtype_of_the_inputs_is_kept(dtype):
    p = jax.tree.map(lambda a: a.astype(dtype), gru_params(PAPER))
    state, output = gru(p, jnp.asarray(STATE, dtype), jnp.asarray(X, dtype))
    assert state.dtype == output.dtype == dtype


def test_inputs_may_be_projected_before_the_scan():
    p = jax.tree.map(lambda a: a.astype("float32"), gru_params(PAPER))
    xs = jnp.asarray(draw(52, 2, 7, M), "float32")
    whole = gru_inputs(p, xs)
    state = jnp.asarray(STATE, "float32")
    for i in np.ndindex(2, 7):
        np.testing.assert_allclose(
            gru_recur(p, state, whole[i])[0],
            gru(p, state, xs[i])[0],
            rtol=1e-5,
            atol=1e-6,
        )


def test_a_wrong_shape_names_the_argument():
    p = GRUParams(
        jnp.ones((M, 3 * D)), jnp.ones((D, 2 * D)), jnp.ones((D, D)), jnp.ones(3 * D)
    )
    inputs = jnp.ones(3 * D)
    with pytest.raises(
        ValueError, match=r"^carry: expected shape \[D=3\], got \[2, 3\] \(a"
    ):
        gru_recur(p, jnp.ones((2, D)), inputs)
    with pytest.raises(ValueError, match=r"^inputs: expected shape \[.*9\], got \[5\]"):
        gru_recur(p, jnp.ones(D), jnp.ones(M))
    with pytest.raises(
        ValueError, match=r"^params\.u_candidate: expected shape .*\[3, 4\]"
    ):
        gru_recur(p._replace(u_candidate=jnp.ones((D, D + 1))), jnp.ones(D), inputs)
    with pytest.raises(ValueError, match=r"\[7, \.\.\.\], got \[5, 9\]"):
        gru(p, jnp.ones(D), jnp.ones(7))
