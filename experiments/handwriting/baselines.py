"""What the nats of a network are compared with: a density without a past or a text."""

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.core.mixtures import PenMixture, pen_log_density

_POINTS = 20_000  # of the training lines, at most, that are fitted
_ITERATIONS = 40
_LEAST = 1e-6  # added to variances of normalised offsets


def fit_mixture(points: np.ndarray, components: int, *, seed: int = 0) -> PenMixture:
    """Fits one density to all pen points, by expectation maximisation.

    It is of the network's family, with outputs that are the same at every step.

    Args:
      points: normalised, without the first of each line, shape [N, 3].
      components: K.
      seed: of the points that are fitted, and of the first means.

    Returns:
      The density.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(points))[:_POINTS]
    x = points[some, :2].astype(np.float64)
    K = min(components, len(x))
    means = x[rng.choice(len(x), K, replace=False)]
    covariances = np.tile(np.cov(x.T) + _LEAST * np.eye(2), (K, 1, 1))
    weights = np.full(K, 1 / K)
    for _ in range(_ITERATIONS):
        away = x[:, None] - means  # [N, K, 2]
        inverses = np.linalg.inv(covariances)
        squares = np.einsum("nki,kij,nkj->nk", away, inverses, away)
        log_norms = np.log(weights) - 0.5 * np.log(np.linalg.det(covariances))
        joint = log_norms - squares / 2
        shares = np.exp(joint - joint.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)  # [N, K]
        counts = shares.sum(axis=0) + 1e-9
        weights, means = counts / counts.sum(), (shares.T @ x) / counts[:, None]
        away = x[:, None] - means
        covariances = np.einsum("nk,nki,nkj->kij", shares, away, away)
        covariances = covariances / counts[:, None, None] + _LEAST * np.eye(2)
    return _as_mixture(weights, means, covariances, float(points[:, 2].mean()))


def _as_mixture(
    weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, end: float
) -> PenMixture:
    scales = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))  # [K, 2]
    correlations = covariances[:, 0, 1] / scales.prod(axis=1)
    end = min(max(end, 1e-6), 1 - 1e-6)
    logarithms = (
        np.log(weights),
        means,
        np.log(scales),
        np.arctanh(correlations),
        np.log(end / (1 - end)),
    )
    return PenMixture(*(jnp.asarray(part, jnp.float32) for part in logarithms))


def nats(mixture: PenMixture, points: np.ndarray) -> float:
    """The nats of all points [N, 3] under one density, summed."""
    density = jax.jit(jax.vmap(pen_log_density, (None, 0)))
    return -float(np.sum(np.asarray(density(mixture, points)), dtype=np.float64))
