"""The loss of guided alignment against its sum, and at its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core.guidance import alignment_cross_entropy
from attnjax.core.weights import masked_softmax
from tests import oracles

T, S = 5, 7
LINKS = np.random.default_rng(3).random((T, S)) < 0.4
LINKS[2] = False  # a target without links


def weights_of(dtype=np.float64):
    scores = np.random.default_rng(5).normal(size=(T, S)).astype(dtype)
    return scores, masked_softmax(jnp.asarray(scores))


def test_it_is_the_papers_sum_in_float64():
    with jax.enable_x64(True):
        _, weights = weights_of()
        got = alignment_cross_entropy(weights, jnp.asarray(LINKS))
        assert got.dtype == jnp.float64
        want = oracles.alignment_cross_entropy(np.asarray(weights), LINKS)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        assert got[2] == 0


def test_its_gradient_is_that_of_finite_differences():
    with jax.enable_x64(True):
        scores, _ = weights_of()

        def loss(scores):
            weights = masked_softmax(jnp.asarray(scores))
            return alignment_cross_entropy(weights, jnp.asarray(LINKS)).sum()

        got = jax.grad(loss)(jnp.asarray(scores))
        want = oracles.numerical_gradient(lambda x: float(loss(x)), scores)
        np.testing.assert_allclose(got, want, atol=1e-8)
        np.testing.assert_array_equal(got[2], 0)  # free


def test_batches_are_rows():
    _, weights = weights_of(np.float32)
    both = jnp.stack([weights, weights[::-1]])
    links = jnp.stack([jnp.asarray(LINKS), jnp.asarray(LINKS[::-1])])
    got = alignment_cross_entropy(both, links)
    one = alignment_cross_entropy(weights, jnp.asarray(LINKS))
    np.testing.assert_array_equal(got, jnp.stack([one, one[::-1]]))


def test_padding_that_attends_nowhere_costs_nothing():
    """Also under eager `jax_debug_nans`: a row of zeros without links."""
    weights, links = jnp.zeros((2, 3)), jnp.zeros((2, 3), bool)
    with jax.debug_nans(True):
        grad = jax.grad(lambda w: alignment_cross_entropy(w, links).sum())(weights)
    np.testing.assert_array_equal(grad, 0)


def test_a_weight_that_underflowed_costs_87_nats():
    weights, links = jnp.array([[1.0, 0.0]]), jnp.array([[False, True]])
    value, grad = jax.value_and_grad(lambda w: alignment_cross_entropy(w, links).sum())(
        weights
    )
    np.testing.assert_allclose(value, -np.log(np.finfo(np.float32).tiny), rtol=1e-6)
    assert np.isfinite(grad).all()


def test_bfloat16_weights_are_summed_in_float32():
    _, weights = weights_of(np.float32)
    low = weights.astype(jnp.bfloat16)
    got = alignment_cross_entropy(low, jnp.asarray(LINKS))
    assert got.dtype == jnp.float32
    want = oracles.alignment_cross_entropy(np.asarray(low, np.float64), LINKS)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_links_are_boolean():
    with pytest.raises(TypeError, match="links: expected a boolean"):
        alignment_cross_entropy(jnp.ones((T, S)), jnp.ones((T, S)))


def test_links_have_the_shape_of_the_weights():
    with pytest.raises(
        ValueError, match=r"links: expected shape \[T=5, S=7\], got \[7, 5\]"
    ):
        alignment_cross_entropy(jnp.ones((T, S)), jnp.ones((S, T), bool))
