"""Weight noise as a config says: what is drawn, and what it costs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.train import Loss, WeightPosterior, weight_complexity
from experiments.training.weight_noise import (
    WeightNoiseConfig,
    perturb,
    with_complexity,
    with_posterior,
)

PARAMS = {"w": jnp.arange(7.0), "b": jnp.ones((2, 3))}
NONE, FIXED, ADAPTIVE = (
    WeightNoiseConfig(kind=kind, stddev=0.5) for kind in ("none", "fixed", "adaptive")
)


def started(config):
    return with_posterior(config, lambda params: params["w"], PARAMS)


@pytest.mark.parametrize("config", [NONE, FIXED, ADAPTIVE], ids=lambda c: c.kind)
def test_a_model_is_that_of_the_means_and_noise_is_drawn_from_the_key(config, rng):
    rebuild, params = started(config)
    np.testing.assert_array_equal(rebuild(params), PARAMS["w"])
    assert perturb(config, params, None) == (params, None)
    (one, left), (same, _) = (perturb(config, params, rng) for _ in range(2))
    other, _ = perturb(config, params, jax.random.fold_in(rng, 1))
    chex.assert_trees_all_equal(one, same)
    if config.kind == "none":
        assert one is params
        assert left is rng
        return
    assert (rebuild(one) != PARAMS["w"]).all()
    assert (rebuild(one) != rebuild(other)).all()
    assert left != rng
    if config.kind == "adaptive":
        chex.assert_trees_all_equal(one.log_variance, params.log_variance)


@pytest.mark.parametrize("config", [NONE, FIXED, ADAPTIVE], ids=lambda c: c.kind)
def test_an_epoch_pays_for_the_weights_once_if_noise_is_learned(config):
    _, params = started(config)
    losses = [Loss(jnp.float32(n), jnp.int32(1)) for n in range(4)]
    paid = [with_complexity(config, x, params, num_batches=4) for x in losses]
    cost = 0.0
    if config.kind == "adaptive":
        assert isinstance(params, WeightPosterior)
        cost = float(weight_complexity(params))
        assert cost > 1
    np.testing.assert_allclose(sum(float(x.total) for x in paid), 6 + cost, rtol=1e-6)
    assert sum(int(x.num_tokens) for x in paid) == 4
