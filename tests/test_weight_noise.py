"""Weight noise of one size, and learned: both loss terms against float64 loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.train import (
    Loss,
    WeightPosterior,
    WeightPrior,
    add_weight_noise,
    best_weight_prior,
    init_state,
    init_weight_posterior,
    make_train_step,
    sample_weights,
    weight_complexity,
)
from tests import oracles

rng = np.random.default_rng(0)
MEAN = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=5)}
LOG_VARIANCE = {"a": rng.normal(-2, 0.5, (2, 3)), "b": rng.normal(-1, 0.5, 5)}
TARGET = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=5)}


def flat(tree):
    return np.concatenate([np.ravel(tree[name]) for name in sorted(tree)])


def oracle_prior(mean, log_variance):
    """Graves 2011, section 5: weight by weight."""
    mus, variances = flat(mean), np.exp(flat(log_variance))
    W = len(mus)
    mu = sum(mus) / W
    return mu, sum(v + (m - mu) ** 2 for m, v in zip(mus, variances, strict=True)) / W


def oracle_complexity(mean, log_variance, mu, variance):
    """KL(Q || P) by numerical integration of one weight after another."""
    nats = 0.0
    for m, v in zip(flat(mean), np.exp(flat(log_variance)), strict=True):
        w = m + np.sqrt(v) * np.linspace(-12, 12, 20_001)
        q = np.exp(-((w - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
        log_q = -((w - m) ** 2) / (2 * v) - np.log(2 * np.pi * v) / 2
        log_p = -((w - mu) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2
        nats += np.trapezoid(q * (log_q - log_p), w)
    return nats


def test_the_prior_in_closed_form_is_the_papers_and_the_best():
    with jax.enable_x64(True):
        posterior = WeightPosterior(*jax.tree.map(jnp.asarray, (MEAN, LOG_VARIANCE)))
        prior = best_weight_prior(posterior)
        least = float(weight_complexity(posterior, prior))
        for step in (-1e-2, 1e-2):
            for other in (
                prior._replace(mean=prior.mean + step),
                prior._replace(variance=prior.variance + step),
            ):
                assert float(weight_complexity(posterior, other)) > least
        assert float(weight_complexity(posterior)) == least
    np.testing.assert_allclose(prior, oracle_prior(MEAN, LOG_VARIANCE), rtol=1e-12)


def test_the_complexity_loss_is_the_divergence_and_so_is_its_gradient():
    mu, variance = oracle_prior(MEAN, LOG_VARIANCE)
    with jax.enable_x64(True):
        posterior = WeightPosterior(*jax.tree.map(jnp.asarray, (MEAN, LOG_VARIANCE)))
        nats, grads = jax.value_and_grad(weight_complexity)(posterior)
    want = oracle_complexity(MEAN, LOG_VARIANCE, mu, variance)
    np.testing.assert_allclose(nats, want, rtol=1e-9)

    def moving(tree):
        """The prior follows; by the envelope theorem it changes no gradient."""
        arrays = tree["mean"], tree["log_variance"]
        found = oracle_prior(*({"a": x} for x in arrays))
        return oracle_complexity(*({"a": x} for x in arrays), *found)

    want = oracles.numerical_gradients(
        moving, {"mean": flat(MEAN), "log_variance": flat(LOG_VARIANCE)}
    )
    for name in want:
        got = flat(getattr(grads, name))
        np.testing.assert_allclose(got, want[name], rtol=1e-5, atol=1e-8)


def test_the_error_loss_is_that_of_a_draw_and_its_gradients_are_the_papers():
    """d/d mu = g, d/d sigma^2 = g^2 / 2, g by finite differences at the draw."""
    key = jax.random.key(3)
    with jax.enable_x64(True):
        posterior = WeightPosterior(*jax.tree.map(jnp.asarray, (MEAN, LOG_VARIANCE)))

        def loss(weights):
            return sum(jnp.sum((weights[n] - TARGET[n]) ** 4) for n in TARGET)

        drawn = sample_weights(key, posterior)
        grads = jax.grad(lambda q: loss(sample_weights(key, q)))(posterior)
        noise = {
            n: (np.asarray(drawn[n]) - MEAN[n]) / np.exp(LOG_VARIANCE[n] / 2)
            for n in MEAN
        }
    g = oracles.numerical_gradients(
        lambda w: sum(((w[n] - TARGET[n]) ** 4).sum() for n in TARGET),
        {n: MEAN[n] + np.exp(LOG_VARIANCE[n] / 2) * noise[n] for n in MEAN},
    )
    for name in MEAN:
        np.testing.assert_allclose(grads.mean[name], g[name], rtol=1e-6, atol=1e-8)
        by_variance = g[name] ** 2 / 2
        want = by_variance * np.exp(LOG_VARIANCE[name])  # by the chain rule
        np.testing.assert_allclose(grads.log_variance[name], want, rtol=1e-6, atol=1e-8)


def test_draws_have_the_means_and_deviations_of_the_posterior():
    """4,000 draws: the mean of a weight is off by 5 sigma / sqrt(4000) at most."""
    posterior = jax.tree.map(jnp.float32, WeightPosterior(MEAN, LOG_VARIANCE))
    keys = jax.random.split(jax.random.key(0), 4_000)
    draws = jax.vmap(sample_weights, (0, None))(keys, posterior)
    for name, mean in MEAN.items():
        stddev = np.exp(LOG_VARIANCE[name] / 2)
        off = np.abs(draws[name].mean(0) - mean) / stddev
        assert off.max() < 5 / np.sqrt(4_000)
        np.testing.assert_allclose(draws[name].std(0), stddev, rtol=0.06)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fixed_noise_has_one_deviation_and_other_draws_for_every_array(dtype):
    params = {"a": jnp.ones((50, 40), dtype), "b": jnp.ones(2_000, dtype)}
    noisy = add_weight_noise(jax.random.key(1), params, stddev=0.25)
    assert {x.dtype for x in jax.tree.leaves(noisy)} == {jnp.dtype(dtype)}
    a, b = (np.float32(noisy[n]).ravel() - 1 for n in "ab")
    np.testing.assert_allclose([a.std(), b.std()], 0.25, rtol=0.08)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.1


def test_the_gradient_is_that_at_noisy_weights_and_moves_the_clean_ones():
    """One step of gradient descent on w^3: w - lr * 3 (w + e)^2."""
    import optax

    def loss(params, batch, key):
        noisy = add_weight_noise(key, params, stddev=0.5)
        return Loss((noisy["w"] ** 3).sum(), jnp.float32(1))

    tx, key = optax.sgd(0.1), jax.random.key(5)
    step = make_train_step(loss, tx)
    w = jnp.array([1.0, 2.0, -3.0])
    state, _ = step(init_state({"w": w}, tx), jnp.zeros(1), key)
    noisy = add_weight_noise(jax.random.fold_in(key, 0), {"w": w}, stddev=0.5)["w"]
    assert abs(noisy - w).min() > 0.01
    np.testing.assert_allclose(state.params["w"], w - 0.3 * noisy**2, rtol=1e-5)


def test_a_posterior_starts_with_one_deviation_that_must_be_positive():
    posterior = init_weight_posterior({"w": jnp.ones(3)}, stddev=0.075)
    np.testing.assert_allclose(jnp.exp(posterior.log_variance["w"] / 2), 0.075, 1e-6)
    assert isinstance(best_weight_prior(posterior), WeightPrior)
    with pytest.raises(ValueError, match="stddev: expected a positive number, got 0"):
        init_weight_posterior({"w": jnp.ones(3)}, stddev=0)
