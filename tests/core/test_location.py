"""Location-aware scores against the loops of Chorowski et al. 2015."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import location, scores
from tests import oracles
from tests.core.cases import draw

S, A, K, R = 7, 5, 2, 3
PAPER = {
    "query": draw(0, A),
    "keys": draw(1, S, A),
    "previous": oracles.masked_softmax(draw(2, S), np.arange(S) < S - 2),
    "filters": draw(3, K, R),
    "matrix": draw(4, A, K),
    "v": draw(5, A),
}


def _ours(p):
    arrays = {name: jnp.asarray(x) for name, x in p.items()}
    return location.location_aware(
        arrays["query"],
        arrays["keys"],
        arrays["previous"],
        filters=arrays["filters"].T,  # [K, R] -> [R, K]
        w_location=arrays["matrix"].T,  # [A, K] -> [K, A]
        v=arrays["v"],
    )


@pytest.mark.parametrize("width", [1, 3, 5, 2 * S + 1])
def test_features_match_the_paper(width):
    filters = draw(6, K, width)
    with jax.enable_x64(True):
        got = location.location_features(
            jnp.asarray(PAPER["previous"]), jnp.asarray(filters).T
        )
    want = oracles.location_features(PAPER["previous"], filters)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def test_scores_match_the_paper_in_value_and_gradient():
    along = np.cos(np.arange(S))
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            _ours(PAPER), oracles.location_aware(**PAPER), rtol=1e-12
        )
        got = jax.grad(lambda p: _ours(p) @ along)(jax.tree.map(jnp.asarray, PAPER))
    want = oracles.numerical_gradients(
        lambda p: oracles.location_aware(**p) @ along, PAPER
    )
    for name, gradient in want.items():
        np.testing.assert_allclose(
            got[name], gradient, rtol=1e-7, atol=1e-9, err_msg=name
        )


def test_without_location_it_is_the_additive_score():
    with jax.enable_x64(True):
        got = _ours(PAPER | {"matrix": np.zeros((A, K))})
        want = scores.additive(*(jnp.asarray(PAPER[x]) for x in ("query", "keys", "v")))
    np.testing.assert_array_equal(got, want)


def test_vmap_and_jit_give_the_numbers_of_a_loop():
    previous, filters = draw(7, 3, S), jnp.asarray(PAPER["filters"].T, "float32")
    rows = jnp.asarray(previous, "float32")
    mapped = jax.jit(jax.vmap(location.location_features, (0, None)))(rows, filters)
    for got, row in zip(mapped, rows, strict=True):
        want = location.location_features(row, filters)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_scores_are_in_float32(dtype):
    p = {name: x.astype(dtype) for name, x in PAPER.items()}
    assert _ours(p).dtype == "float32"


def test_low_precision_is_accumulated_in_float32():
    """257 ones: bfloat16 alone would stop counting at 256."""
    ones = jnp.ones(257, "bfloat16")
    features = location.location_features(ones, jnp.ones((513, 1), "bfloat16"))
    assert (features == jnp.asarray(257, "bfloat16")).all()


def test_wrong_arguments_are_named():
    with pytest.raises(
        ValueError, match=r"^filters: expected an odd width R, got 4 \("
    ):
        location.location_features(jnp.ones(S), jnp.ones((4, K)))
    with pytest.raises(
        ValueError, match=r"^previous: expected shape \[S\], got \[2, 7"
    ):
        location.location_features(jnp.ones((2, S)), jnp.ones((R, K)))
    with pytest.raises(ValueError, match=r"^previous: expected shape \[S=7\], got \[8"):
        _ours(PAPER | {"previous": np.ones(S + 1)})
    with pytest.raises(
        ValueError, match=r"^w_location: expected shape .*, got \[3, 5\]"
    ):
        _ours(PAPER | {"matrix": np.ones((A, K + 1))})
    with pytest.raises(TypeError, match=r"^previous: expected float values, got int32"):
        location.location_features(jnp.ones(S, jnp.int32), jnp.ones((R, K)))
