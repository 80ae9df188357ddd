"""Noise on the weights as a regulariser: of one size, or learned for each weight."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnjax.core import precision
from attnjax.train.accumulation import Params


class WeightPosterior(NamedTuple):
    """A normal distribution for each weight, independent of the others."""

    mean: Params
    log_variance: Params  # of the natural logarithm; the same shapes


class WeightPrior(NamedTuple):
    """The one normal distribution of all weights before the data."""

    mean: Float[Array, ""]
    variance: Float[Array, ""]


def add_weight_noise(rng: Key[Array, ""], params: Params, *, stddev: float) -> Params:
    r"""Adds one draw of normal noise to every weight.

    .. math:: \theta' = \theta + \epsilon, \quad \epsilon \sim N(0, \sigma^2)

    A loss of the result has its gradient at the noisy weights, which the optimiser
    applies to the clean ones.

    Source: Graves 2013 (arXiv:1308.0850), section 3.1; Jim, Giles & Horne 1996.

    Args:
      rng: random key of one sequence or batch.
      params: tree of arrays.
      stddev: sigma; 0.075 in the paper.

    Returns:
      The noisy weights.

    Example:
      >>> rng = jax.random.key(0)
      >>> noisy = add_weight_noise(rng, {"w": jnp.zeros(1000)}, stddev=0.1)
      >>> round(float(noisy["w"].std()), 2)
      0.1
    """
    noise = _standard_normal(rng, params)
    return jax.tree.map(lambda x, e: x + (stddev * e).astype(x.dtype), params, noise)


def init_weight_posterior(params: Params, *, stddev: float) -> WeightPosterior:
    """Makes a distribution around weights, all with one standard deviation.

    Args:
      params: the means, tree of arrays.
      stddev: of every weight.

    Returns:
      The posterior, a tree of parameters to train.

    Raises:
      ValueError: if `stddev` is not positive.
    """
    if not stddev > 0:
        raise ValueError(f"stddev: expected a positive number, got {stddev}")
    log_variance = 2 * jnp.log(stddev)
    return WeightPosterior(
        params, jax.tree.map(lambda x: jnp.full_like(x, log_variance), params)
    )


def sample_weights(rng: Key[Array, ""], posterior: WeightPosterior) -> Params:
    r"""Draws weights of a posterior, for the error loss of adaptive weight noise.

    .. math:: w_i = \mu_i + \sigma_i \epsilon_i, \quad
        \frac{\partial L}{\partial \mu_i} = g_i, \quad
        \frac{\partial L}{\partial \sigma_i^2} = \frac{g_i^2}{2},
        \quad g_i = \frac{\partial L}{\partial w_i}

    The gradient of the variance is an estimate: the exact one is half the second
    derivative of the loss, for which the square of the first stands. So it is not that
    of the draw, and noise is only ever reduced by the error loss.

    Source: Graves 2011, "Practical Variational Inference for Neural Networks", section
    5 (a diagonal Gaussian posterior); Graves 2013 (arXiv:1308.0850), section 3.1.

    Args:
      rng: random key of one sequence or batch.
      posterior: means and variances.

    Returns:
      Weights with the structure of `posterior.mean`.
    """
    noise = _standard_normal(rng, posterior.mean)
    return jax.tree.map(_sample, posterior.mean, posterior.log_variance, noise)


@jax.custom_vjp
def _sample(mean: Array, log_variance: Array, noise: Array) -> Array:
    return mean + jnp.exp(log_variance / 2) * noise


def _sample_forward(mean: Array, log_variance: Array, noise: Array) -> Any:
    return _sample(mean, log_variance, noise), log_variance


def _sample_backward(log_variance: Array, g: Array) -> tuple[Array, Array, None]:
    # d variance / d log variance = variance
    return g, jnp.exp(log_variance) * g**2 / 2, None


_sample.defvjp(_sample_forward, _sample_backward)


def best_weight_prior(posterior: WeightPosterior) -> WeightPrior:
    r"""Computes the prior that is nearest to a posterior.

    .. math:: \hat\mu = \frac{1}{W} \sum_i \mu_i, \quad
        \hat\sigma^2 = \frac{1}{W} \sum_i [\sigma_i^2 + (\mu_i - \hat\mu)^2]

    Source: Graves 2011, section 5, whose complexity loss it minimises.

    Args:
      posterior: means and variances of W weights.

    Returns:
      Mean and variance of the prior, in at least float32.

    Example:
      >>> posterior = init_weight_posterior({"w": jnp.array([1.0, 3.0])}, stddev=2.0)
      >>> [round(float(x), 4) for x in best_weight_prior(posterior)]
      [2.0, 5.0]
    """
    means, log_variances = (
        [precision.upcast(x) for x in jax.tree.leaves(tree)] for tree in posterior
    )
    W = sum(x.size for x in means)
    mean = jnp.stack([x.sum() for x in means]).sum() / W
    spread = [
        (jnp.exp(v) + (m - mean) ** 2).sum()
        for m, v in zip(means, log_variances, strict=True)
    ]
    return WeightPrior(mean, jnp.stack(spread).sum() / W)


def weight_complexity(
    posterior: WeightPosterior, prior: WeightPrior | None = None
) -> Float[Array, ""]:
    r"""Computes the cost of describing weights: the complexity loss.

    .. math:: KL(Q \| P) = \sum_i \ln \frac{\sigma}{\sigma_i}
        + \frac{(\mu_i - \mu)^2 + \sigma_i^2 - \sigma^2}{2 \sigma^2}

    It is paid once for all training data: the loss of one of N batches gets an N-th.

    Source: Graves 2011, section 5 (a diagonal Gaussian posterior).

    Args:
      posterior: means mu_i and variances of the weights.
      prior: mu and the variance of all weights; None: `best_weight_prior`, which is
        then a constant of the gradient. (At its minimum that changes no gradient.)

    Returns:
      Nats, shape [], in at least float32.

    Example:
      >>> posterior = init_weight_posterior({"w": jnp.zeros(2)}, stddev=1.0)
      >>> prior = WeightPrior(jnp.zeros(()), jnp.ones(()))
      >>> float(weight_complexity(posterior, prior))
      0.0
    """
    if prior is None:
        prior = jax.lax.stop_gradient(best_weight_prior(posterior))

    def nats(mean: Array, log_variance: Array) -> Array:
        mean, log_variance = precision.upcast(mean), precision.upcast(log_variance)
        off = (mean - prior.mean) ** 2 + jnp.exp(log_variance)
        log_ratio = (jnp.log(prior.variance) - log_variance) / 2
        return (log_ratio + off / (2 * prior.variance) - 0.5).sum()

    costs = jax.tree.map(nats, posterior.mean, posterior.log_variance)
    return jax.tree.reduce(jnp.add, costs)


def _standard_normal(rng: Key[Array, ""], params: Params) -> Params:
    """Normal noise with the shapes of a tree."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(rng, len(leaves))
    noise = [
        jax.random.normal(k, x.shape, x.dtype)
        for k, x in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, noise)
