"""Noise on the weights of a model in training, as a config says."""

import jax

from attnjax.train import (
    Params,
    add_weight_noise,
    sample_weights,
)
from experiments.language_model.config import WeightNoiseConfig


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
