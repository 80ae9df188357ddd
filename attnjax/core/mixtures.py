"""Mixture densities of pen points: Gaussians of the offset, and the end of a stroke.

A point is (dx, dy, end): the offset from the last point, y downwards, and 1 at the
last point of a stroke, else 0. Scales, correlations and probabilities are kept in
logarithms (or as inverse hyperbolic tangents), so that float32 tells 1 - 1e-8 from 1.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.core import precision
from attnjax.core._checks import known_value, shaped
from attnjax.core.exponential import finite_exp


class PenMixture(NamedTuple):
    """The density of the next pen point."""

    log_weights: Float[Array, "K"]  # log pi
    means: Float[Array, "K 2"]  # mu, along x and y
    log_scales: Float[Array, "K 2"]  # log sigma
    atanh_correlations: Float[Array, "K"]  # rho is the hyperbolic tangent of them
    end_logit: Float[Array, ""]  # log e / (1 - e)


def pen_mixture_width(num_components: int) -> int:
    """The number of outputs that K components need: 6*K + 1."""
    return 6 * num_components + 1


@shaped
def pen_mixture(outputs: Float[Array, "N"], *, bias: float | Array = 0.0) -> PenMixture:
    r"""Reads the density of the next pen point from a network's outputs.

    .. math::
        e = \frac{1}{1 + \exp(\hat e)}, \quad
        \pi = \mathrm{softmax}(\hat\pi (1 + b)), \quad
        \mu = \hat\mu, \quad \sigma = \exp(\hat\sigma - b), \quad
        \rho = \tanh(\hat\rho)

    With a bias b > 0 samples are nearer to what is most probable: tidier writing.

    Source: Graves 2013 (arXiv:1308.0850), eqs. 18 to 22; biased: eqs. 61 and 62.

    Args:
      outputs: of the network, side by side: e, then pi, mu_x, mu_y, sigma_x, sigma_y
        and rho, K each; shape [6*K + 1].
      bias: b, at least 0; 0 is the density that is trained.

    Returns:
      The density, in at least float32.

    Raises:
      ValueError: if the number of outputs is not one more than a multiple of 6, or a
        known bias is negative.

    Example:
      >>> mixture = pen_mixture(jnp.zeros(13))
      >>> jnp.exp(mixture.log_weights).tolist(), mixture.means.shape
      ([0.5, 0.5], (2, 2))
    """
    K, left = divmod(outputs.shape[0] - 1, 6)
    if left or K < 1:
        raise ValueError(
            f"outputs: expected 6*K + 1 numbers, got {outputs.shape[0]} (an end of "
            "stroke, and six for each of K components)"
        )
    check_bias(bias)
    outputs = precision.upcast(outputs)
    # [6*K] -> 6 x [K]
    pi, mu_x, mu_y, sigma_x, sigma_y, rho = jnp.split(outputs[1:], 6)
    bias = jnp.asarray(bias, outputs.dtype)
    return PenMixture(
        log_weights=jax.nn.log_softmax(pi * (1 + bias)),
        means=jnp.stack([mu_x, mu_y], axis=-1),  # 2 x [K] -> [K, 2]
        log_scales=jnp.stack([sigma_x, sigma_y], axis=-1) - bias,  # 2 x [K] -> [K, 2]
        atanh_correlations=rho,
        end_logit=-outputs[0],
    )


def check_bias(bias: float | Array) -> None:
    """Checks that biases are not negative, where they are known.

    Raises:
      ValueError: naming the least.
    """
    known = known_value(bias)
    if known is not None and (known < 0).any():
        raise ValueError(
            f"bias: expected at least 0, got {known.min()} (0 is the density that is "
            "trained)"
        )


@shaped
def pen_log_density(mixture: PenMixture, point: Float[Array, "3"]) -> Float[Array, ""]:
    r"""Computes the log-density of a pen point, in nats.

    .. math::
        \log p = \log \sum_k \pi_k \mathcal{N}(dx, dy | \mu_k, \sigma_k, \rho_k)
        + \log \begin{cases} e & \text{at the end of a stroke} \\
                             1 - e & \text{otherwise} \end{cases}

    With u = (dx - mu_x) / sigma_x, v = (dy - mu_y) / sigma_y and rho = tanh(r), the
    exponent of a Gaussian is

    .. math::
        \frac{u^2 + v^2 - 2\rho u v}{2(1 - \rho^2)}
        = \frac{(u + v)^2 (1 + e^{-2r}) + (u - v)^2 (1 + e^{2r})}{8},
        \qquad \tfrac12 \log(1 - \rho^2) = -\log\cosh r

    so that nothing is rounded to 1 - rho = 0. Nothing has a floor either: a point far
    from every component pulls them by its full gradient, which is finite.

    Source: Graves 2013 (arXiv:1308.0850), eqs. 23 to 26.

    Args:
      mixture: the density.
      point: dx, dy, and 1 at the end of a stroke, else 0; shape [3].

    Returns:
      The logarithm of the density, shape [], in the dtype of the mixture.

    Raises:
      ValueError: if a shape disagrees with the letters above.

    Example:
      >>> mixture = pen_mixture(jnp.zeros(7))
      >>> pen_log_density(mixture, jnp.zeros(3)).round(4)  # -log(2 pi) - log 2
      Array(-2.531, dtype=float32)
    """
    dtype = mixture.means.dtype
    offset, end = point[:2].astype(dtype), point[2].astype(dtype)
    r = mixture.atanh_correlations
    # Tiny scales are factored out, so that squares stay finite: [K, 2] -> [K, 1]
    shrunk = jax.lax.stop_gradient(-mixture.log_scales)
    most = jnp.max(shrunk, axis=-1, keepdims=True)
    scaled = (offset - mixture.means) * jnp.exp(-mixture.log_scales - most)
    u, v, twice = scaled[:, 0], scaled[:, 1], 2 * most[:, 0]
    along = (u + v) ** 2 * (finite_exp(twice) + finite_exp(twice - 2 * r))
    across = (u - v) ** 2 * (finite_exp(twice) + finite_exp(twice + 2 * r))
    log_cosh = jnp.logaddexp(r, -r) - math.log(2)
    log_norm = -math.log(2 * math.pi) - jnp.sum(mixture.log_scales, axis=-1) + log_cosh
    each = mixture.log_weights + log_norm - (along + across) / 8
    end_sign = 2 * end - 1
    return jax.nn.logsumexp(each) + jax.nn.log_sigmoid(end_sign * mixture.end_logit)


@shaped
def sample_pen(rng: Array, mixture: PenMixture) -> Float[Array, "3"]:
    """Draws a pen point from its density.

    Args:
      rng: random key.
      mixture: the density.

    Returns:
      dx, dy, and 1 at the end of a stroke, else 0; shape [3].

    Raises:
      ValueError: if a shape disagrees with the letters of `PenMixture`.

    Example:
      >>> sample_pen(jax.random.key(0), pen_mixture(jnp.zeros(7))).shape
      (3,)
    """
    r_component, r_offset, r_end = jax.random.split(rng, 3)
    dtype = mixture.means.dtype
    k = jax.random.categorical(r_component, mixture.log_weights)
    r = mixture.atanh_correlations[k]
    x, y = jax.random.normal(r_offset, (2,), dtype)
    # sqrt(1 - rho ** 2) is 1 / cosh r.
    y = jnp.tanh(r) * x + jnp.exp(math.log(2) - jnp.logaddexp(r, -r)) * y
    scales = finite_exp(mixture.log_scales[k])
    offset = mixture.means[k] + scales * jnp.stack([x, y])  # 2 x [] -> [2]
    end = jax.random.logistic(r_end, (), dtype) < mixture.end_logit
    return jnp.append(offset, end.astype(dtype))


@shaped
def mean_offset(mixture: PenMixture) -> Float[Array, "2"]:
    r"""Computes the expected offset, :math:`\sum_k \pi_k \mu_k`.

    It is what the squared error of a prediction is measured from.

    Args:
      mixture: the density.

    Returns:
      dx and dy, shape [2].

    Raises:
      ValueError: if a shape disagrees with the letters of `PenMixture`.
    """
    return precision.matmul(jnp.exp(mixture.log_weights), mixture.means)
