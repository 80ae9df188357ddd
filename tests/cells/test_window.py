"""Layers that read a text through a window, against the paper's loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.cells.aligners import Sizes, WindowParams, soft_window
from attnjax.cells.initializers import initializers
from attnjax.cells.lstm import LSTMState
from attnjax.cells.scan import scan
from attnjax.cells.window import (
    WINDOW,
    WindowLayersParams,
    WindowLayersState,
    window_layers,
)
from attnjax.core import windows
from attnjax.core.attend import Memory, attend
from attnjax.core.weights import unnormalised
from tests import oracle_handwriting, oracles
from tests.cells.papers import draw_dict, lstm_params, lstm_shapes
from tests.conftest import TOLERANCE
from tests.core.cases import draw

M, E, D, K, U, T, O = 3, 5, 7, 2, 4, 11, 13  # noqa: E741
TEXT = np.eye(E)[[3, 0, 4, 0]]
POINTS = draw(10, T, M)


def paper_params():
    """The parameters of two layers, as the paper's loops take them."""
    return {
        "layers": [
            draw_dict(20, lstm_shapes(M + E, D)),
            draw_dict(21, lstm_shapes(M + E + D, D)),
        ],
        "W_window": 0.3 * draw(22, 3 * K, D),
        "b_window": 0.3 * draw(23, 3 * K) - 0.5,
        "W_y": draw(24, 2, O, D),
        "b_y": draw(25, O),
    }


def ours(paper):
    """The same, as the cell takes them."""
    layers = tuple(map(lstm_params, paper["layers"]))
    aligner = WindowParams(jnp.asarray(paper["W_window"].T), paper["b_window"])
    return jax.tree.map(jnp.asarray, WindowLayersParams(layers, aligner))


def text_memory(text):
    """A text with the position after its end: [1, U+1, ...]."""
    values = np.concatenate([text, np.zeros((1, text.shape[1]))])[None]
    return Memory(
        jnp.asarray(values[..., :1]),
        jnp.asarray(values),
        jnp.ones(values.shape[:2], bool),
    )


def first_carry(params, memory, D):
    state = (jnp.zeros((1, D), memory.values.dtype),) * 2
    lstm_state = LSTMState(*state)
    kappa = jnp.zeros((1, len(params.aligner.b) // 3), memory.values.dtype)
    context = jnp.zeros((1, memory.values.shape[-1]), memory.values.dtype)
    return WindowLayersState((lstm_state,) * len(params.layers), kappa, context)


def run(params, points, text):
    memory = text_memory(text)
    carry = first_carry(params, memory, D)
    x = jnp.asarray(points)[None]
    return scan(window_layers, params, carry, x, memory=memory)


def outputs(paper, hidden):
    """The output layer's eq. 53, of states side by side."""
    matrix = np.concatenate(list(paper["W_y"]), axis=1)  # [O, L*D]
    return hidden @ matrix.T + paper["b_y"]


def test_the_layers_and_the_window_are_those_of_the_paper():
    paper = paper_params()
    want, phis = oracle_handwriting.window_layers(paper, POINTS, TEXT)
    with jax.enable_x64(True):
        carry, out = run(ours(paper), POINTS, TEXT)
        got = outputs(paper, np.asarray(out.hidden[0]))
    tight = {"rtol": TOLERANCE["float64"], "atol": 1e-12}
    np.testing.assert_allclose(got, want, **tight)
    np.testing.assert_allclose(out.weights[0], phis, **tight)
    assert not np.allclose(phis.sum(axis=1), 1)  # not normalised
    np.testing.assert_allclose(carry.context[0], phis[-1, :U] @ TEXT, **tight)


def test_its_gradient_is_that_of_finite_differences():
    paper, along = paper_params(), draw(26, T, O)

    def slow(b_window):
        changed = paper | {"b_window": b_window}
        return (
            oracle_handwriting.window_layers(changed, POINTS, TEXT)[0] * along
        ).sum()

    with jax.enable_x64(True):

        def fast(b_window):
            params = ours(paper)
            params = params._replace(aligner=params.aligner._replace(b=b_window))
            out = run(params, POINTS, TEXT)[1]
            return jnp.sum(outputs(paper, out.hidden[0]) * along)

        got = jax.grad(fast)(jnp.asarray(paper["b_window"]))
    want = oracles.numerical_gradient(slow, paper["b_window"])
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)


def test_the_window_fits_attend_in_place_of_score_and_softmax():
    text, query = text_memory(TEXT), draw(27, 3 * K)

    def score(query, keys):
        alpha, beta, kappa = jnp.split(query, 3)  # [3*K] -> 3 x [K]
        mask = jnp.ones(keys.shape[0], bool)
        return windows.soft_window(jnp.exp(alpha), jnp.exp(beta), kappa, mask)

    with jax.enable_x64(True):
        memory = jax.tree.map(lambda x: x[0], text)
        read = attend(
            jnp.asarray(query),
            memory.keys,
            memory.values,
            score=score,
            weighting=unnormalised,
        )
    alpha, beta, kappa = np.exp(query[:K]), np.exp(query[K : 2 * K]), query[2 * K :]
    phi = oracles.soft_window(alpha, beta, kappa, U + 1)
    np.testing.assert_allclose(read.weights, phi, rtol=1e-12)
    np.testing.assert_allclose(read.context, phi[:U] @ TEXT, rtol=1e-12)


def test_an_untrained_window_moves_by_a_25th_of_a_character(rng):
    params = WINDOW.init(rng, Sizes(D=D, E=E, A=1), initializers("paper"))
    memory = Memory(jnp.zeros((U, 1)), jnp.zeros((U, E)), jnp.ones(U, bool))
    carry = WINDOW.initial_carry(params, memory)
    position = jnp.zeros((), jnp.int32)
    moved, _ = WINDOW.weigh(params, carry, jnp.zeros(D), position, memory)
    np.testing.assert_allclose(moved, np.full(10, 1 / 25), rtol=1e-6)


@pytest.mark.parametrize("emitted", [80.0, 1e4, -1e4])
def test_whatever_is_emitted_the_window_stays_finite(emitted):
    aligner = soft_window(K)
    memory = Memory(jnp.zeros((U, 1)), jnp.ones((U, E)), jnp.ones(U, bool))

    def total(b):
        params = WindowParams(jnp.zeros((D, 3 * K)), b)
        position = jnp.zeros((), jnp.int32)
        kappa = jnp.zeros(K)
        for _ in range(2):
            kappa, given = aligner.weigh(params, kappa, jnp.ones(D), position, memory)
        return given.sum() + kappa.sum(), (kappa, given)

    bias = jnp.full(3 * K, emitted)
    gradient, (kappa, given) = jax.grad(total, has_aux=True)(bias)
    for x in (kappa, given, gradient):
        assert np.isfinite(x).all()


@pytest.mark.parametrize("length", [3, 900])
def test_a_text_of_any_length_is_read(length):
    """A centre far along the text still finds its character."""
    mask = jnp.ones(length, bool)
    one = jnp.ones(1)
    given = windows.soft_window(one, 5 * one, length * one, mask)
    assert int(given.argmax()) == length - 1
    np.testing.assert_allclose(given.max(), 1, rtol=1e-6)


def test_padding_behind_the_text_changes_nothing():
    paper = paper_params()
    params = jax.tree.map(lambda x: x.astype(jnp.float32), ours(paper))
    memory = jax.tree.map(
        lambda x: x.astype(jnp.float32) if x.dtype != bool else x, text_memory(TEXT)
    )
    poison = jax.tree.map(
        lambda x: jnp.concatenate([x, jnp.full_like(x[:, :2], 7)], axis=1), memory
    )
    poison = poison._replace(mask=jnp.pad(memory.mask, ((0, 0), (0, 2))))
    carry = first_carry(params, memory, D)
    x = jnp.asarray(POINTS, jnp.float32)[None]
    step = partial(scan, window_layers, params, carry, x)
    plain, padded = step(memory=memory)[1], step(memory=poison)[1]
    np.testing.assert_allclose(padded.hidden, plain.hidden, rtol=1e-6)
    assert not padded.weights[..., U + 1 :].any()


def test_a_first_step_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"first_step: expected a positive .* got 0"):
        soft_window(3, first_step=0)
