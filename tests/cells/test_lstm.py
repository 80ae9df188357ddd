"""The LSTM with a forget gate, without peepholes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.cells.lstm import LSTMParams, LSTMState, lstm, lstm_inputs, lstm_recur
from tests import oracles
from tests.cells.papers import draw_dict, lstm_params, lstm_shapes
from tests.core.cases import draw

M, D = 5, 3
PAPER = draw_dict(0, lstm_shapes(M, D))
H, C, X = draw(50, D), draw(51, D), draw(52, M)


def _objective(h, c):
    return h @ np.cos(np.arange(3.0)) + c @ np.sin(np.arange(3.0))


def _ours(p, h, c, x):
    state, output = lstm(lstm_params(p), LSTMState(h, c), x)
    return _objective(*state), (state, output)


def test_a_step_matches_the_paper_in_value_and_gradient():
    with jax.enable_x64(True):
        gradients, (state, output) = jax.grad(_ours, (0, 1, 2, 3), has_aux=True)(
            PAPER, H, C, X
        )
    np.testing.assert_array_equal(state.hidden, output)
    np.testing.assert_allclose(state, oracles.lstm(PAPER, (H, C), X), rtol=1e-12)

    def paper(p, h, c, x):
        return _objective(*oracles.lstm(p, (h, c), x))

    want = oracles.numerical_gradients(lambda p: paper(p, H, C, X), PAPER)
    for name, gradient in want.items():
        np.testing.assert_allclose(gradients[0][name], gradient, rtol=1e-7, atol=1e-10)
    rest = oracles.numerical_gradients(
        lambda a: paper(PAPER, **a), {"h": H, "c": C, "x": X}
    )
    for got, gradient in zip(gradients[1:], rest.values(), strict=True):
        np.testing.assert_allclose(got, gradient, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_dtype_of_the_inputs_is_kept(dtype):
    def cast(tree):
        return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)

    got = lstm(cast(lstm_params(PAPER)), LSTMState(*cast((H, C))), cast(X))
    assert {x.dtype for x in jax.tree.leaves(got)} == {jnp.dtype(dtype)}


def test_inputs_may_be_projected_before_the_scan():
    p = jax.tree.map(lambda a: a.astype("float32"), lstm_params(PAPER))
    xs = jnp.asarray(draw(53, 7, M), "float32")
    state = LSTMState(jnp.asarray(H, "float32"), jnp.asarray(C, "float32"))
    whole = lstm_inputs(p, xs)
    for i in range(7):
        got, want = lstm_recur(p, state, whole[i]), lstm(p, state, xs[i])
        np.testing.assert_allclose(got[1], want[1], rtol=1e-5, atol=1e-6)


def test_a_wrong_shape_names_the_argument():
    p = LSTMParams(jnp.ones((M, 4 * D)), jnp.ones((D, 4 * D)), jnp.ones(4 * D))
    state = LSTMState(jnp.ones(D), jnp.ones(D))
    with pytest.raises(
        ValueError, match=r"^inputs: expected shape \[.*12\], got \[5\]"
    ):
        lstm_recur(p, state, jnp.ones(M))
    with pytest.raises(
        ValueError, match=r"^carry\.cell: expected shape \[D=3\], got \[4\]"
    ):
        lstm_recur(p, state._replace(cell=jnp.ones(D + 1)), jnp.ones(4 * D))
    with pytest.raises(
        TypeError, match=r"^carry: expected LSTMState, got ArrayImpl \("
    ):
        lstm_recur(p, jnp.ones(D), jnp.ones(4 * D))
    with pytest.raises(ValueError, match=r"\[7, \.\.\.\], got \[5, 12\]"):
        lstm(p, state, jnp.ones(7))
