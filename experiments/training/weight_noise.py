"""Noise on the weights of a model in training, as a config says."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax

from attnjax.train import (
    Loss,
    Params,
    WeightPosterior,
    add_weight_noise,
    init_weight_posterior,
    sample_weights,
    weight_complexity,
)

Rebuild = Callable[[Params], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightNoiseConfig:
    """Noise on the weights, one draw for each batch of training."""

    kind: Literal["none", "fixed", "adaptive"] = "none"
    """Noise of one size for all weights (fixed), or of a size that is learned for each
    weight, under the description length of weights and data (adaptive; Graves 2011).
    Then the loss of training includes each batch's share of what it costs to describe
    the weights."""
    stddev: float = 0.075
    """Standard deviation of the noise; the first one, if it is learned."""


def with_posterior(
    config: WeightNoiseConfig, rebuild: Rebuild, params: Params
) -> tuple[Rebuild, Params]:
    """Gives each weight a variance of its own, if noise is adaptive.

    Args:
      config: the kind of noise.
      rebuild: makes the model of a tree of parameters.
      params: initial parameters.

    Returns:
      What makes the model of the means, and means and variances; without adaptive
      noise, both as they were.

    Raises:
      ValueError: if the standard deviation is not positive.
    """
    if config.kind != "adaptive":
        return rebuild, params
    posterior: Any = init_weight_posterior(params, stddev=config.stddev)
    return partial(_rebuild_mean, rebuild), posterior


def _rebuild_mean(rebuild: Rebuild, posterior: WeightPosterior) -> Any:
    return rebuild(posterior.mean)


def perturb(
    config: WeightNoiseConfig, params: Params, rng: jax.Array | None
) -> tuple[Params, jax.Array | None]:
    """Draws noisy weights of a batch.

    Args:
      config: the kind of noise.
      params: the parameters, with their variances if noise is adaptive.
      rng: random key of the batch; None adds no noise.

    Returns:
      Parameters of the same structure, and a random key for all else.
    """
    if rng is None or config.kind == "none":
        return params, rng
    rng, noise = jax.random.split(rng)
    if config.kind == "fixed":
        return add_weight_noise(noise, params, stddev=config.stddev), rng
    return params._replace(mean=sample_weights(noise, params)), rng


def with_complexity(
    config: WeightNoiseConfig, loss: Loss, params: Params, *, num_batches: float
) -> Loss:
    """Adds a share of what it costs to describe the weights, if noise is learned.

    Args:
      config: the kind of noise.
      loss: of a batch, or of one of its microbatches.
      params: the parameters, with their variances if noise is adaptive.
      num_batches: how many such losses are computed in an epoch.

    Returns:
      The loss whose sum over an epoch has the whole cost once.
    """
    if config.kind != "adaptive":
        return loss
    return loss._replace(total=loss.total + weight_complexity(params) / num_batches)
