"""A gradient that is clipped where it flows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core.gradients import clip_gradient


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_value_is_kept_and_each_element_of_the_gradient_clipped(dtype):
    x = jnp.array([1.0, -2.0, 3.0], dtype)
    slopes = jnp.array([0.5, -7.0, 2.0], dtype)
    y, vjp = jax.vjp(lambda x: clip_gradient(x, limit=2.0), x)
    np.testing.assert_array_equal(y, x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(vjp(slopes)[0], jnp.array([0.5, -2.0, 2.0], dtype))


def test_rows_are_clipped_one_by_one_under_vmap():
    x = jnp.ones((3, 2))
    grads = jax.grad(
        lambda x: (4 * jax.vmap(lambda r: clip_gradient(r, limit=3.0))(x)).sum()
    )(x)
    np.testing.assert_array_equal(grads, 3 * x)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_not_positive_is_named(limit):
    with pytest.raises(
        ValueError, match=f"limit: expected a positive number, got {limit}"
    ):
        clip_gradient(jnp.ones(2), limit=limit)
