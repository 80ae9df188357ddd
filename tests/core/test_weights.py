"""Weights on their own: what score and values cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import weights
from tests import oracles
from tests.core.cases import WEIGHTINGS, draw

each = pytest.mark.parametrize(
    ("weigh", "oracle"), WEIGHTINGS.values(), ids=WEIGHTINGS.keys()
)
normalised = pytest.mark.parametrize(
    "weigh", [weights.masked_softmax, weights.sparsemax, weights.hardmax]
)


@each
def test_many_rows_match_the_paper(weigh, oracle):
    """Random rows of all scales, ties included, against the independent algorithm."""
    scores = draw(0, 40, 7) * np.geomspace(0.01, 100, 40)[:, None]
    scores[::3] = scores[::3].round()  # ties
    mask = draw(1, 40, 7) > -0.7
    with jax.enable_x64(True):
        got = jax.jit(weigh)(scores, mask)
    want = [oracle(s, m) for s, m in zip(scores, mask, strict=True)]
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)


@each
def test_leading_axes_are_vmap(weigh, oracle):
    scores = jnp.asarray(draw(2, 2, 3, 7), "float32")
    mask = jnp.asarray(draw(3, 2, 3, 7) > 0)
    rows = jax.vmap(jax.vmap(weigh))(scores, mask)
    np.testing.assert_allclose(weigh(scores, mask), rows, rtol=1e-6)


@each
def test_numpy_arrays_may_be_closed_over_and_mapped(weigh, oracle):
    del oracle
    scores, mask = np.float32(draw(2, 2, 3, 7)), draw(3, 2, 3, 7) > 0
    got = jax.jit(lambda: jax.vmap(weigh)(scores, mask))()
    np.testing.assert_allclose(got, weigh(scores, mask), rtol=1e-6)


@normalised
def test_a_shift_of_all_scores_changes_nothing(weigh):
    scores = jnp.asarray(draw(4, 7), "float32").round(2)
    np.testing.assert_allclose(weigh(scores + 4), weigh(scores), rtol=1e-5, atol=1e-6)


@each
def test_extreme_scores_are_finite(weigh, oracle):
    del oracle
    scores = jnp.array([3e38, -3e38, 0.0, 1e30])

    def objective(s):
        return weigh(s) @ jnp.arange(4.0)

    value, gradient = jax.value_and_grad(objective)(scores)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert weigh(scores)[0] == 1


@each
def test_a_score_of_minus_infinity_has_no_weight(weigh, oracle):
    del oracle
    scores = jnp.array([0.5, -jnp.inf, 0.0])
    got = weigh(scores)
    np.testing.assert_allclose(got[jnp.array([0, 2])], weigh(scores[jnp.array([0, 2])]))
    assert got[1] == 0
    gradient = jax.grad(lambda s: weigh(s) @ jnp.arange(3.0))(scores)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("seen", [7, 4, 0])
def test_a_softmax_is_differentiated_twice_in_either_mode(mode, seen):
    """First and second derivative against their closed forms."""
    with jax.enable_x64(True):
        scores, mask = jnp.asarray(draw(5, 7)), jnp.arange(7) < seen
        derive = mode(weights.masked_softmax)
        a = np.asarray(weights.masked_softmax(scores, mask))
        first, second = derive(scores, mask), mode(derive)(scores, mask)
    jacobian = np.diag(a) - np.outer(a, a)
    curvature = (
        np.einsum("ik,ij->ijk", jacobian, np.eye(7))
        - np.einsum("ik,j->ijk", jacobian, a)
        - np.einsum("i,jk->ijk", a, jacobian)
    )
    np.testing.assert_allclose(first, jacobian, atol=1e-14)
    np.testing.assert_allclose(second, curvature, atol=1e-14)


@normalised
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_three_thousand_keys_sum_to_one(weigh, dtype):
    got = weigh(jnp.zeros(3000, dtype))
    assert got.dtype == dtype
    # A weight of 1/3000 is off by at most half a unit in the last place.
    error = {"bfloat16": 2**-8, "float16": 2**-10, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(np.asarray(got, np.float64).sum(), 1, rtol=error)


def test_softmax_gradient_is_its_jacobian():
    scores = draw(5, 7)
    a = oracles.masked_softmax(scores, np.ones(7, bool))
    with jax.enable_x64(True):
        got = jax.jacobian(weights.masked_softmax)(scores)
    np.testing.assert_allclose(got, np.diag(a) - np.outer(a, a), atol=1e-14)


def test_sparsemax_gradient_is_its_jacobian():
    """Martins 2016, eq. 9: Diag(s) - s s' / |S| for the support's indicator s."""
    scores = draw(6, 7)
    s = (oracles.sparsemax(scores, np.ones(7, bool)) > 0).astype(float)
    assert 1 < s.sum() < 7
    with jax.enable_x64(True):
        got = jax.jacobian(weights.sparsemax)(scores)
    np.testing.assert_allclose(got, np.diag(s) - np.outer(s, s) / s.sum(), atol=1e-14)


MASK = np.array([True, True, False, True, False, True, True])


@pytest.mark.parametrize("sink", [-300.0, -2.0, 0.0, 2.0, 300.0])
def test_the_sink_takes_its_share(sink):
    """It weighs every key less by one factor: 1 - its own share."""
    scores = draw(7, 7)
    with jax.enable_x64(True):
        got = weights.softmax_with_sink(scores, MASK, sink=jnp.asarray(sink))
    share = oracles.masked_softmax(np.append(scores, sink), np.append(MASK, True))[-1]
    want = (1 - share) * oracles.masked_softmax(scores, MASK)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)


def test_a_shift_of_scores_and_sink_changes_nothing():
    scores, sink = jnp.asarray(draw(8, 7), "float32").round(2), jnp.array(0.5)
    got = weights.softmax_with_sink(scores + 4, sink=sink + 4)
    want = weights.softmax_with_sink(scores, sink=sink)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("mask", [MASK, ~MASK & MASK])
def test_a_sink_of_minus_infinity_is_no_sink(mask):
    scores, sink = jnp.asarray(draw(9, 7), "float32"), jnp.array(-jnp.inf)
    got = weights.softmax_with_sink(scores, mask, sink=sink)
    np.testing.assert_array_equal(got, weights.masked_softmax(scores, mask))
    gradient = jax.grad(
        lambda e: weights.softmax_with_sink(scores, mask, sink=e) @ scores
    )
    assert gradient(sink) == 0


def test_the_sink_learns():
    scores = draw(10, 7)

    def read(sink):
        given = weights.softmax_with_sink(scores, MASK, sink=jnp.asarray(sink))
        return given @ np.arange(7.0)

    with jax.enable_x64(True):
        got = jax.grad(read)(0.3)
        want = oracles.numerical_gradient(lambda e: float(read(e)), 0.3)
        empty = jax.grad(
            lambda e: weights.softmax_with_sink(scores, ~MASK & MASK, sink=e).sum()
        )
        with jax.debug_nans(True), jax.disable_jit():
            assert empty(jnp.array(0.3)) == 0
    np.testing.assert_allclose(got, want, rtol=1e-8)


def test_hardmax_takes_the_first_of_equals():
    scores, mask = jnp.array([2.0, 1.0, 2.0]), jnp.array([False, True, True])
    np.testing.assert_array_equal(weights.hardmax(scores), [1, 0, 0])
    np.testing.assert_array_equal(weights.hardmax(scores, mask), [0, 0, 1])
    np.testing.assert_array_equal(weights.hardmax(-scores * 0, mask), [0, 1, 0])


@each
def test_bad_masks_are_told_what_to_do(weigh, oracle):
    del oracle
    with pytest.raises(TypeError, match=r"^mask: expected a boolean .*`bias`"):
        weigh(jnp.ones(3), jnp.ones(3))
    with pytest.raises(ValueError, match=r"^mask: expected shape \[S=3\], got \[2\]"):
        weigh(jnp.ones(3), jnp.ones(2, bool))
    with pytest.raises(ValueError, match=r"^mask: .*leading axes must agree"):
        weigh(jnp.ones((2, 3)), jnp.ones((4, 3), bool))
    with pytest.raises(
        TypeError, match=r"^scores: expected float\w* values, got int32"
    ):
        weigh(jnp.arange(3))


def test_a_sink_for_each_row_is_told_what_to_do():
    message = r"^sink: expected shape \[\], got \[3\] \(a batch\? wrap .* jax\.vmap\)"
    with pytest.raises(ValueError, match=message):
        weights.softmax_with_sink(jnp.ones(3), sink=jnp.ones(3))
    with pytest.raises(TypeError, match=r"^sink: expected an array, got float \("):
        weights.softmax_with_sink(jnp.ones(3), sink=0.0)


def test_unnormalised_scores_are_their_own_weights_where_not_masked():
    """In no table of laws: they are in no simplex, and may be infinite."""
    scores, mask = jnp.float32(draw(9, 2, 5)), jnp.array([[1, 0, 1, 1, 0]] * 2) > 0
    got = weights.unnormalised(scores, mask)
    assert got.tolist() == jnp.where(mask, scores, 0).tolist()
    assert weights.unnormalised(scores).tolist() == scores.tolist()
    slope = jax.grad(lambda x: jnp.sum(weights.unnormalised(x, mask)))(scores)
    assert slope.tolist() == mask.astype(jnp.float32).tolist()
    with pytest.raises(TypeError, match=r"^mask: expected a boolean mask"):
        weights.unnormalised(scores, jnp.ones((2, 5)))
