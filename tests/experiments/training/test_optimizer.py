"""The optimiser as settings: gradient descent, clipping of each array, step decay."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.optimizer import OptimizerConfig

PARAMS = {"a": jnp.ones((2, 3)), "b": jnp.ones(5), "c": jnp.zeros(())}
GRADS = {
    "a": jnp.full((2, 3), 4.0),  # norm 4 sqrt 6
    "b": jnp.full(5, 0.1),  # norm below 1
    "c": jnp.zeros(()),
}


def update(config, steps=10, count=1):
    """The updates of the last of some equal steps."""
    with jax.numpy_dtype_promotion("standard"):
        tx = config.build(steps)
        state = tx.init(PARAMS)
        for _ in range(count):
            updates, state = tx.update(GRADS, state, PARAMS)
    return updates


def test_gradient_descent_is_the_gradient_times_the_rate():
    config = OptimizerConfig(name="sgd", learning_rate=0.5, max_grad_norm=None)
    for name, got in update(config).items():
        np.testing.assert_allclose(got, -0.5 * GRADS[name])


def test_each_array_is_clipped_on_its_own():
    config = OptimizerConfig(
        name="sgd", learning_rate=1.0, max_grad_norm=2.0, clip_each_array=True
    )
    got = update(config)
    np.testing.assert_allclose(np.linalg.norm(got["a"]), 2, rtol=1e-6)
    np.testing.assert_allclose(got["b"], -0.1 * np.ones(5))  # short: not touched
    assert got["c"] == 0
    together = update(OptimizerConfig(name="sgd", learning_rate=1.0, max_grad_norm=2.0))
    norm = np.sqrt(sum(float(jnp.sum(x**2)) for x in together.values()))
    np.testing.assert_allclose(norm, 2, rtol=1e-6)
    assert abs(together["b"][0]) < 0.1


def test_weight_decay_of_gradient_descent_spares_vectors():
    config = OptimizerConfig(
        name="sgd", learning_rate=1.0, max_grad_norm=None, weight_decay=0.25
    )
    got = update(config)
    np.testing.assert_allclose(got["a"], -4.25 * np.ones((2, 3)))
    np.testing.assert_allclose(got["b"], -0.1 * np.ones(5))


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 8.0), (29, 8.0), (30, 8.0), (44, 8.0), (45, 4.0), (59, 4.0), (60, 2.0)],
)
def test_the_rate_is_halved_every_so_many_steps_from_a_step_on(step, rate):
    config = OptimizerConfig(
        learning_rate=8.0, lr_schedule="step", decay_begin=30, decay_every=15
    )
    assert float(config.build_schedule(90)(step)) == rate
    slow = dataclasses.replace(config, begin_ratio=0.25).build_schedule(90)
    assert float(slow(step)) == (2.0 if step < 30 else rate)
