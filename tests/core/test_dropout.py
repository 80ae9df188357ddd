"""Dropout: a share of zeros, and a mean that stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core.dropout import dropout

RNG = jax.random.key(0)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_and_the_mean_are_the_rates(rate):
    x = dropout(RNG, jnp.ones(20_000), rate=rate)
    kept = x > 0
    # Five standard deviations of a share of 20,000: one in 3 million, seeded.
    deviation = (rate * (1 - rate) / x.size) ** 0.5
    assert abs(kept.mean() - (1 - rate)) < 5 * deviation
    np.testing.assert_allclose(x[kept], 1 / (1 - rate), rtol=1e-6)


def test_no_key_or_no_rate_is_no_noise():
    x = jnp.arange(3.0)
    assert dropout(None, x, rate=0.5) is x
    assert dropout(RNG, x, rate=0.0) is x


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_dtype_is_kept(dtype):
    assert dropout(RNG, jnp.ones((2, 3), dtype), rate=0.5).dtype == dtype


def test_the_gradient_goes_where_the_value_went():
    x = jnp.ones(50)
    gradient = jax.grad(lambda x: dropout(RNG, x, rate=0.3).sum())(x)
    np.testing.assert_allclose(gradient, dropout(RNG, x, rate=0.3), rtol=1e-6)


def test_dropped_values_may_be_anything():
    kept = dropout(RNG, jnp.ones(50), rate=0.5) > 0
    poisoned = jnp.where(kept, 1.0, jnp.inf)
    assert np.isfinite(dropout(RNG, poisoned, rate=0.5)).all()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ValueError, match=r"^rate: expected a share in \[0, 1\), got"):
        dropout(RNG, jnp.ones(2), rate=rate)


def test_a_rate_close_to_one_is_a_rate():
    assert not dropout(RNG, jnp.ones(9), rate=0.999_999).any()
