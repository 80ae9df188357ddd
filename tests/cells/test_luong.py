"""Luong's decoder cell against the paper's loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.cells.lstm import LSTMParams, LSTMState, lstm_inputs
from attnjax.cells.luong import LuongParams, LuongState, luong
from attnjax.core import scores
from attnjax.core.attend import Memory
from tests import oracles
from tests.arg_specs import TINY_DECODER
from tests.cells.papers import draw_dict, lstm_params, lstm_shapes
from tests.core.cases import draw
from tests.oracle_models import luong_step, part

_, S, T, D, M, E, *_ = TINY_DECODER
SHAPES = lstm_shapes(M + D, D, "lstm.") | {"W_c": (D, E + D), "keys": (S, D)}
PAPER = draw_dict(0, SHAPES | {"values": (S, E), "xs": (T, M)})
CARRY = draw(60, D), draw(61, D), draw(62, D)
SCORES = {
    "dot": (scores.dot, oracles.dot),
    "scaled_dot": (scores.scaled_dot, oracles.scaled_dot),
}


def _params(p):
    """One matrix multiplies [y; h~] in the paper; here it is two."""
    both = lstm_params(part(p, "lstm"))
    return LuongParams(
        layers=(LSTMParams(both.w[:M], both.u, both.b),),
        w_feed=both.w[M:],
        w_attentional=jnp.asarray(p["W_c"]).T,
    )


def _ours(p, score):
    params, pad = _params(p), 2
    memory = Memory(
        jnp.concatenate([p["keys"], jnp.full((pad, D), 1e6, "float64")]),
        jnp.concatenate([p["values"], jnp.full((pad, E), 1e6, "float64")]),
        jnp.arange(S + pad) < S,
    )
    h, cell, attentional = map(jnp.asarray, CARRY)
    return jax.lax.scan(
        lambda carry, x: luong(params, carry, x, memory=memory, score=score),
        LuongState((LSTMState(h, cell),), attentional),
        lstm_inputs(params.layers[0], jnp.asarray(p["xs"])),
    )


def _paper(p, score):
    carry, states, alignment = CARRY, [], []
    for x in p["xs"]:
        carry, _, weights = luong_step(p, carry, x, p["keys"], p["values"], score)
        states.append(carry[2])
        alignment.append(weights)
    return carry, np.array(states), np.array(alignment)


@pytest.mark.parametrize(("score", "oracle"), SCORES.values(), ids=SCORES.keys())
def test_all_steps_match_the_paper(score, oracle):
    with jax.enable_x64(True):
        last, out = jax.tree.map(np.asarray, _ours(PAPER, score))
    (h, cell, attentional), states, alignment = _paper(PAPER, oracle)
    np.testing.assert_allclose(last.layers[0], (h, cell), rtol=1e-11)
    np.testing.assert_allclose(last.attentional, attentional, rtol=1e-11)
    np.testing.assert_allclose(out.attentional, states, rtol=1e-11)
    np.testing.assert_allclose(out.weights[:, :S], alignment, rtol=1e-11)
    assert (out.weights[:, S:] == 0).all()


def test_the_gradient_matches_the_paper():
    def objective(states):
        return (states @ np.cos(np.arange(1.0 * D))).sum()

    with jax.enable_x64(True):
        gradients = jax.jit(
            jax.grad(lambda p: objective(_ours(p, scores.dot)[1].attentional))
        )(PAPER)
    want = oracles.numerical_gradients(
        lambda p: objective(_paper(p, oracles.dot)[1]), PAPER
    )
    for key, gradient in want.items():
        np.testing.assert_allclose(
            gradients[key], gradient, rtol=1e-6, atol=1e-8, err_msg=key
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_dtype_of_the_inputs_is_kept(dtype):
    params = jax.tree.map(lambda x: x.astype(dtype), _params(PAPER))
    zero = jnp.zeros(D, dtype)
    memory = Memory(jnp.ones((S, D), dtype), jnp.ones((S, E), dtype), jnp.ones(S, bool))
    state = LuongState((LSTMState(zero, zero),), zero)
    got = luong(params, state, jnp.ones(4 * D, dtype), memory=memory)
    assert {x.dtype for x in jax.tree.leaves(got)} == {jnp.dtype(dtype)}


def test_a_wrong_shape_names_the_argument():
    params = jax.tree.map(lambda x: x.astype("float32"), _params(PAPER))
    zero = jnp.zeros(D)
    state = LuongState((LSTMState(zero, zero),), zero)
    memory = Memory(jnp.ones((S, D)), jnp.ones((S, E)), jnp.ones(S, bool))

    def call(params=params, state=state, memory=memory):
        return luong(params, state, jnp.ones(4 * D), memory=memory)

    call()
    with pytest.raises(
        ValueError, match=r"^carry\.attentional: expected shape \[D=3\]"
    ):
        call(state=state._replace(attentional=jnp.ones(D + 1)))
    with pytest.raises(ValueError, match=r"^carry\.cell: expected shape \[D=3\]"):
        call(state=state._replace(layers=(LSTMState(zero, jnp.ones(D + 1)),)))
    with pytest.raises(ValueError, match=r"^memory\.values: expected shape .*\[4, 6\]"):
        call(memory=memory._replace(values=jnp.ones((S - 1, E))))
