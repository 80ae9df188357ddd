"""The transducer's lattice as arrays without padding, and its gradient."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from attnjax.core import precision
from attnjax.core.lattice import _wavefront
from attnjax.core.lattice._counts import Count, count
from attnjax.core.lattice._semiring import log_add
from attnjax.core.lattice._wavefront import Arcs


def check_columns(name: str, shape: tuple[int, ...], U: int, rest: str = "") -> None:
    """Checks that a lattice has one column more than labels.

    Raises:
      ValueError: if not.
    """
    if shape[1] != U + 1:
        raise ValueError(
            f"{name}: expected shape [T, U+1={U + 1}{rest}], got {list(shape)} (one "
            "node more than labels: before the first, and after each)"
        )


def prepare(
    blank: Array, label: Array, num_frames: Count, num_labels: Count
) -> tuple[Arcs, Array, Array, Array]:
    """Upcasts, and replaces what is padding by -inf, whatever it holds.

    Returns:
      Arcs [T, U + 1], the real T and U, and whether both were in range.
    """
    T, U = label.shape
    check_columns("blank", blank.shape, U)
    frames, valid = count("num_frames", num_frames, T)
    labels, also = count("num_labels", num_labels, U)
    dtype = precision.accumulation_dtype(precision.promoted(blank, label))
    t, u = (
        jnp.arange(T, dtype=jnp.int32)[:, None],
        jnp.arange(U + 1, dtype=jnp.int32)[None, :],
    )  # [T, 1], [1, U + 1]
    padded = jnp.pad(label.astype(dtype), ((0, 0), (0, 1)))  # [T, U] -> [T, U + 1]
    arcs = Arcs(
        jnp.where((t < frames) & (u <= labels), blank.astype(dtype), -jnp.inf),
        jnp.where((t < frames) & (u < labels), padded, -jnp.inf),
    )
    arcs, frames, labels = precision.same_devices((arcs, frames, labels))
    return arcs, frames, labels, valid & also


@jax.custom_vjp
def log_likelihood(arcs: Arcs, T: Array, U: Array) -> Array:
    """The log-likelihood of arcs [T, U + 1]; its gradient is their posterior."""
    return likelihood_and_residuals(arcs, T, U)[0]


def likelihood_and_residuals(arcs: Arcs, T: Array, U: Array) -> tuple[Array, Any]:
    """The log-likelihood, and the arguments of `arc_posteriors`."""
    skewed = _wavefront.skew(arcs)
    found = forward(skewed)
    return _wavefront.log_total(found, T, U), (skewed, found.alpha, T, U)


def _log_likelihood_backward(residuals: Any, cotangent: Array) -> tuple[Any, ...]:
    found = arc_posteriors(*residuals)
    return jax.tree.map(lambda x: x * cotangent, found), None, None


log_likelihood.defvjp(likelihood_and_residuals, _log_likelihood_backward)


def forward(skewed: Arcs) -> _wavefront.Forward:
    """The forward recursion that sums over paths."""
    noise = jnp.zeros_like(skewed.blank[:, 0])
    return _wavefront.forward(skewed, log_add, noise)


def arc_posteriors(skewed: Arcs, alpha: Array, T: Array, U: Array) -> Arcs:
    """Posteriors of all arcs, [T, U + 1]."""
    N, W = skewed.blank.shape  # N = T + U, W = U + 1
    found = _wavefront.posteriors(skewed, alpha, T, U)
    return jax.tree.map(lambda x: _wavefront.unskew(x, N - W + 1), found)
