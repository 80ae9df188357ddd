"""How parameters move, and what a run keeps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.training.config import OptimizerConfig

WIDTH, WARMUP = 512, 4_000


def test_the_inverse_root_is_the_transformer_papers():
    config = OptimizerConfig(
        learning_rate=(WIDTH * WARMUP) ** -0.5, warmup=WARMUP, decay="inverse_sqrt"
    )
    rate = config.schedule(100_000)
    for step in (1, 7, WARMUP - 1, WARMUP, WARMUP + 1, 16_000, 100_000):
        want = WIDTH**-0.5 * min(step**-0.5, step * WARMUP**-1.5)  # eq. 3
        np.testing.assert_allclose(rate(step), want, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("decay", ["none", "cosine", "linear", "inverse_sqrt"])
@pytest.mark.parametrize("warmup", [0, 10])
def test_the_learning_rate_rises_to_its_highest_and_then_never_rises(decay, warmup):
    config = OptimizerConfig(learning_rate=0.3, warmup=warmup, decay=decay)
    rates = np.array([config.schedule(50)(step) for step in range(51)])
    np.testing.assert_allclose(rates.max(), rates[warmup], rtol=1e-6)
    np.testing.assert_allclose(rates[warmup], 0.3, rtol=1e-6)
    assert (np.diff(rates[: warmup + 1]) > 0).all()
    assert (np.diff(rates[warmup:]) <= 1e-7).all()


def test_a_gradient_is_shortened_unless_any_norm_is_allowed():
    params, gradient = jnp.zeros(3), jnp.array([30.0, 0.0, 40.0])

    def first_moment(**settings):
        tx = OptimizerConfig(**settings).build(10)
        with jax.numpy_dtype_promotion("standard"):
            _, state = tx.update(gradient, tx.init(params), params)
        return optax.tree_utils.tree_get(state, "mu")

    chex.assert_trees_all_close(first_moment(clip_norm=1.0), gradient * (0.1 / 50))
    chex.assert_trees_all_close(first_moment(clip_norm=None), gradient * 0.1)


def test_epsilon_is_adams():
    params, gradient = jnp.zeros(1), jnp.array([1e-3])
    tx = OptimizerConfig(learning_rate=1.0, epsilon=1e-3, clip_norm=None).build(10)
    with jax.numpy_dtype_promotion("standard"):
        update, _ = tx.update(gradient, tx.init(params), params)
    np.testing.assert_allclose(update, -0.5, rtol=1e-5)  # -g / (|g| + epsilon)
