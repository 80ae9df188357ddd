"""The LSTM with peepholes: the paper's equations, and its clipped derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.cells.lstm import LSTMState, lstm
from attnjax.cells.peephole_lstm import (
    PeepholeLSTMParams,
    peephole_lstm,
    peephole_lstm_inputs,
    peephole_lstm_recur,
)
from attnjax.cells.scan import scan
from tests import oracles
from tests.cells.papers import (
    draw_dict,
    lstm_params,
    named_shapes,
    peephole_lstm_params,
)
from tests.core.cases import draw

M, D, T = 5, 3, 4
PAPER = draw_dict(0, named_shapes("peephole_lstm", M, D))
H, C, X = draw(50, D), draw(51, D), draw(52, M)
XS, SLOPES = draw(53, T, M), draw(54, T, D)


def _objective(h, c):
    return h @ np.cos(np.arange(3.0)) + c @ np.sin(np.arange(3.0))


def _ours(p, h, c, x):
    state, output = peephole_lstm(peephole_lstm_params(p), LSTMState(h, c), x)
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


def test_the_output_gate_sees_the_new_cell_and_the_others_the_old_one():
    """Which derivative by a peephole is 0 where a cell is 0 tells which it sees."""
    params = jax.tree.map(jnp.float32, peephole_lstm_params(PAPER))
    x = jnp.float32(X)

    def hidden(params, cell):
        return peephole_lstm(params, LSTMState(jnp.float32(H), cell), x)[1].sum()

    grads = jax.grad(hidden)(params, jnp.zeros(D))
    assert not grads.w_input.any()
    assert not grads.w_forget.any()
    assert grads.w_output.all()


def test_without_peepholes_it_is_the_lstm():
    params = jax.tree.map(jnp.float32, lstm_params(PAPER))
    state, x = LSTMState(jnp.float32(H), jnp.float32(C)), jnp.float32(X)
    closed = PeepholeLSTMParams(*params, *jnp.zeros((3, D)))
    got, want = peephole_lstm(closed, state, x), lstm(params, state, x)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), got, want)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_dtype_of_the_inputs_is_kept(dtype):
    def cast(tree):
        return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)

    state = LSTMState(*cast((H, C)))
    got = peephole_lstm(
        cast(peephole_lstm_params(PAPER)), state, cast(X), gradient_limit=1.0
    )
    assert {x.dtype for x in jax.tree.leaves(got)} == {jnp.dtype(dtype)}


def _clipped_by_hand(p, limit):
    """Backpropagation through time, the gates' derivatives clipped: a float64 loop.

    Of the objective sum_t SLOPES[t] . h_t; returns the gradients of b and of P.
    """
    h, c, kept = H, C, []
    for x in XS:
        pre = {k: p[f"W_{k}"] @ x + p[f"U_{k}"] @ h + p[f"b_{k}"] for k in "ifgo"}
        i, f = (oracles.sigma(pre[k] + p[f"P_{k}"] * c) for k in "if")
        g = np.tanh(pre["g"])
        new = f * c + i * g
        o = oracles.sigma(pre["o"] + p["P_o"] * new)
        kept.append((i, f, g, o, c, new))
        h, c = o * np.tanh(new), new
    grads = {
        name: np.zeros(D) for name in ("b_i", "b_f", "b_g", "b_o", "P_i", "P_f", "P_o")
    }
    dh, dc, largest = np.zeros(D), np.zeros(D), 0.0
    for (i, f, g, o, old, new), slope in zip(kept[::-1], SLOPES[::-1], strict=True):
        dh = dh + slope
        d = {"o": dh * np.tanh(new) * o * (1 - o)}
        largest = max(largest, abs(d["o"]).max())
        d["o"] = np.clip(d["o"], -limit, limit)
        dc = dc + dh * o * (1 - np.tanh(new) ** 2) + d["o"] * p["P_o"]
        d["i"], d["f"] = dc * g * i * (1 - i), dc * old * f * (1 - f)
        d["g"] = dc * i * (1 - g**2)
        for k in "ifg":
            largest = max(largest, abs(d[k]).max())
            d[k] = np.clip(d[k], -limit, limit)
        for k in "ifgo":
            grads[f"b_{k}"] += d[k]
        for k, seen in (("i", old), ("f", old), ("o", new)):
            grads[f"P_{k}"] += d[k] * seen
        dh = sum(p[f"U_{k}"].T @ d[k] for k in "ifgo")
        dc = dc * f + d["i"] * p["P_i"] + d["f"] * p["P_f"]
    return grads, largest


@pytest.mark.parametrize("limit", [0.05, 100.0])
def test_derivatives_are_clipped_before_they_flow_further_back(limit):
    """The backward loop by hand, against `scan` with the published clipping."""
    want, largest = _clipped_by_hand(PAPER, limit)
    assert (largest > limit) == (limit < 1)
    step = partial(peephole_lstm_recur, gradient_limit=limit)
    with jax.enable_x64(True):

        def objective(p):
            params = peephole_lstm_params(p)
            first = LSTMState(jnp.asarray(H)[None], jnp.asarray(C)[None])
            inputs = peephole_lstm_inputs(params, jnp.asarray(XS)[None])
            _, states = scan(step, params, first, inputs)
            return (states[0] * SLOPES).sum()

        got = jax.jit(jax.grad(objective))(PAPER)
    for name, gradient in want.items():
        np.testing.assert_allclose(got[name], gradient, rtol=1e-10, atol=1e-12)


def test_a_wrong_shape_or_limit_is_named():
    params = jax.tree.map(jnp.float32, peephole_lstm_params(PAPER))
    state = LSTMState(jnp.ones(D), jnp.ones(D))
    with pytest.raises(
        ValueError, match=r"^inputs: expected shape \[.*12\], got \[5\]"
    ):
        peephole_lstm_recur(params, state, jnp.ones(M))
    wrong = params._replace(w_forget=jnp.ones(D + 1))
    with pytest.raises(ValueError, match=r"^params\.w_forget: expected shape \[D=3\]"):
        peephole_lstm_recur(wrong, state, jnp.ones(4 * D))
    with pytest.raises(ValueError, match="limit: expected a positive number, got 0"):
        peephole_lstm(params, state, jnp.float32(X), gradient_limit=0)
