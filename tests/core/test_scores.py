"""Scores on their own; the papers' sums are in test_contract, these are the laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import scores
from tests.core.cases import SCORES, A, D, K, S, draw

QUERY, KEYS = jnp.asarray(draw(0, D), "float32"), jnp.asarray(draw(1, S, D), "float32")
V = jnp.asarray(draw(2, D), "float32")
each_score = pytest.mark.parametrize("name", SCORES)


@each_score
def test_a_key_is_scored_by_itself(name):
    score, _, width = SCORES[name]
    keys = jnp.asarray(draw(3, S, width), "float32")
    alone = [score(QUERY, keys[j : j + 1])[0] for j in range(S)]
    np.testing.assert_allclose(score(QUERY, keys), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [-2.0, 1e-25, 1e25])
def test_cosine_sees_the_angle_only(scale):
    got = scores.cosine(QUERY * scale, KEYS * abs(scale))
    np.testing.assert_allclose(
        got, scores.cosine(QUERY, KEYS) * np.sign(scale), rtol=1e-5, atol=1e-6
    )


def test_cosine_has_no_slope_along_a_vector():
    gradient = jax.grad(lambda q: scores.cosine(q, KEYS).sum())(QUERY)
    np.testing.assert_allclose(gradient @ QUERY, 0, atol=1e-5)


def test_a_cap_bounds_and_keeps_order():
    query, keys = jnp.ones(1), jnp.linspace(-9.0, 9.0, 19)[:, None]
    got = scores.softcap(scores.dot, cap=3.0)(query, keys)
    assert (jnp.diff(got) > 0).all()
    assert (jnp.abs(got) < 3).all()
    np.testing.assert_allclose(got, -got[::-1], rtol=1e-6)
    large = scores.softcap(scores.dot, cap=1e4)(query, keys)
    np.testing.assert_allclose(large, keys[:, 0], rtol=1e-6)


def test_a_cap_takes_a_score_of_any_arguments():
    capped = scores.softcap(lambda v, q, k: scores.additive(q, k, v), cap=5.0)
    want = 5 * jnp.tanh(scores.additive(QUERY, KEYS, V) / 5)
    np.testing.assert_allclose(capped(V, QUERY, KEYS), want, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["additive", "dot", "cosine", "bilinear", "concat"])
def test_three_thousand_terms_are_summed_wide(name, dtype):
    """A running sum in bfloat16 stops at 256, in float16 at 2048."""
    N = 3000
    one, row = jnp.ones(N, dtype), jnp.ones((1, N), dtype)
    single = jnp.ones(1, dtype)
    big = jnp.full((1, 1), 20, dtype)
    got, want = {
        "additive": lambda: (scores.additive(one * 20, row, one), N),
        "dot": lambda: (scores.dot(one, row), N),
        "cosine": lambda: (scores.cosine(one, row), 1),
        "bilinear": lambda: (scores.bilinear(one, single[None], row.T), N),
        "concat": lambda: (
            scores.concat(single, big, jnp.full((2, N), 20, dtype), one),
            N,
        ),
    }[name]()
    assert got.dtype == "float32"  # a softmax of rounded scores has twice the error
    rtol = 2**-8 if name == "bilinear" else 1e-6  # its projected query is rounded
    np.testing.assert_allclose(got, want, rtol)


BAD = {
    "additive-v": (
        lambda: scores.additive(QUERY, KEYS, V[:-1]),
        r"^v: expected shape \[A=11\], got \[10\]",
    ),
    "additive-keys": (
        lambda: scores.additive(QUERY, KEYS[:, :-1], V),
        r"^keys: expected shape \[S, A=11\], got \[7, 10\]",
    ),
    "additive-batch": (
        lambda: scores.additive(KEYS, KEYS, V),
        r"^query: expected shape \[A\], got \[7, 11\] \(a batch\? wrap .* jax\.vmap\)",
    ),
    "dot-keys": (
        lambda: scores.dot(QUERY, KEYS[:, :-1]),
        r"^keys: expected shape \[S, D=11\], got \[7, 10\]",
    ),
    "dot-axis": (
        lambda: scores.dot(QUERY, KEYS[0]),
        r"^keys: expected shape \[S, D=11\], got \[11\] \(an axis is missing\)",
    ),
    "scaled_dot-keys": (
        lambda: scores.scaled_dot(QUERY, KEYS[:, 1:]),
        r"^keys: expected shape \[S, D=11\], got \[7, 10\]",
    ),
    "cosine-keys": (
        lambda: scores.cosine(QUERY, KEYS[:, 1:]),
        r"^keys: expected shape \[S, D=11\], got \[7, 10\]",
    ),
    "bilinear-matrix": (
        lambda: scores.bilinear(QUERY, KEYS, jnp.ones((D, K))),
        r"^matrix: expected shape \[D=11, E=11\], got \[11, 3\]",
    ),
    "concat-matrix": (
        lambda: scores.concat(QUERY, KEYS, jnp.ones((D, A)), jnp.ones(A)),
        r"^matrix: expected shape \[D\+E=22, A\], got \[11, 2\]",
    ),
    "concat-v": (
        lambda: scores.concat(QUERY, KEYS, jnp.ones((2 * D, A)), jnp.ones(3)),
        r"^v: expected shape \[A=2\], got \[3\]",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD.keys())
def test_a_wrong_shape_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("cap", [0, -2.0])
def test_a_cap_that_bounds_nothing_is_refused(cap):
    with pytest.raises(ValueError, match=r"^cap: expected a bound > 0, got .* \("):
        scores.softcap(scores.dot, cap=cap)


def test_integers_are_no_scores():
    with pytest.raises(TypeError, match=r"^query: expected float\w* values, got int32"):
        scores.dot(jnp.arange(D), KEYS)
