"""Windows against loops over the keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import windows
from tests import oracles

S = 7
MASK = np.arange(S) < 5


@pytest.mark.parametrize("position", [0.0, 1.0, 2.5, 3.9, 4.0, 11.0])
@pytest.mark.parametrize("rate", [1.0, 0.4, 1.7])
@pytest.mark.parametrize("length", [0, 1, 5, 7])
def test_diagonal_matches_the_cursor(position, rate, length):
    with jax.enable_x64(True):
        mask = jnp.arange(S) < length
        got = np.asarray(windows.diagonal(jnp.array(position), mask, rate=rate))
    want = oracles.diagonal(position, length, S, rate)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(got.sum(), min(length, 1), rtol=1e-12)


@pytest.mark.parametrize("position", [0.0, 2.0, 3.3, 4.999, 7.0])
@pytest.mark.parametrize("half_width", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("mask", [MASK, MASK[::-1], ~MASK & MASK])
def test_local_p_matches_the_paper(position, half_width, mask):
    with jax.enable_x64(True):
        p = jnp.array(position)
        got = windows.local_p(p, jnp.asarray(mask), half_width=half_width)
    want = oracles.local_p(position, mask, half_width)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("mask", [MASK, MASK[::-1], ~MASK & MASK])
def test_a_soft_window_matches_the_paper_in_value_and_gradient(mask):
    arguments = np.array([[1.3, 0.2], [0.9, 2.1], [0.0, 3.7]])
    length, along = int(mask.sum()), np.cos(np.arange(S))

    def ours(arguments):
        return windows.soft_window(*arguments, jnp.asarray(mask)) @ along

    def loop(arguments):
        return float(oracles.soft_window(*arguments, length) @ along[mask])

    with jax.enable_x64(True):
        got, gradient = jax.value_and_grad(ours)(jnp.asarray(arguments))
        weights = windows.soft_window(*jnp.asarray(arguments), jnp.asarray(mask))
    np.testing.assert_allclose(got, loop(arguments), rtol=1e-12, atol=1e-14)
    assert not weights[~mask].any()
    slow = oracles.numerical_gradient(loop, arguments)
    np.testing.assert_allclose(gradient, slow, rtol=1e-7, atol=1e-9)


def test_local_p_has_a_gradient_in_its_centre():
    def objective(p):
        factor = windows.local_p(p, jnp.asarray(MASK), half_width=2.0)
        return factor @ jnp.arange(S, dtype=p.dtype) ** 2

    with jax.enable_x64(True):
        got = jax.grad(objective)(jnp.array(1.3))
        want = oracles.numerical_gradient(lambda p: float(objective(jnp.array(p))), 1.3)
    np.testing.assert_allclose(got, want, rtol=1e-8)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_dtype_of_the_position_is_kept(dtype):
    position, mask = jnp.array(1.5, dtype), jnp.asarray(MASK)
    assert windows.diagonal(position, mask).dtype == dtype
    assert windows.local_p(position, mask, half_width=2.0).dtype == dtype


def test_an_empty_row_has_no_gradient():
    mask = jnp.zeros(S, bool)
    with jax.debug_nans(True):
        for window in (
            windows.diagonal,
            lambda p, m: windows.local_p(p, m, half_width=2.0),
        ):
            value, gradient = jax.value_and_grad(lambda p, w=window: w(p, mask).sum())(
                1.5
            )
            assert value == gradient == 0


@pytest.mark.parametrize("half_width", [0, -1.0])
def test_a_window_without_width_is_refused(half_width):
    with pytest.raises(ValueError, match=r"^half_width: expected a positive .* \("):
        windows.local_p(jnp.array(1.0), jnp.asarray(MASK), half_width=half_width)


def test_wrong_arguments_are_named():
    one, mask = jnp.array(1.0), jnp.asarray(MASK)
    with pytest.raises(
        ValueError, match=r"^position: expected shape \[\], got \[2\] \(a b"
    ):
        windows.diagonal(jnp.ones(2), mask)
    with pytest.raises(
        TypeError, match=r"^position: expected float\w* values, got int32"
    ):
        windows.diagonal(jnp.array(1), mask)
    with pytest.raises(TypeError, match=r"^mask: expected a boolean mask"):
        windows.local_p(one, jnp.ones(S), half_width=1.0)
