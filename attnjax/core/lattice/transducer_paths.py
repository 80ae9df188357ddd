"""Single paths of a transducer's lattice: the most probable one, and samples."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.core._checks import shaped
from attnjax.core.lattice import _transducer, _wavefront
from attnjax.core.lattice._counts import Count, or_nan
from attnjax.core.lattice._semiring import log_add
from attnjax.core.lattice._wavefront import Arcs


class TransducerPath(NamedTuple):
    """A path: where each label is emitted; the blanks follow from it."""

    frames: Int[Array, "... U"]  # from 0, never decreasing; -1 in padding, or if none
    log_prob: Float[Array, "..."]  # of the path and its labels


@shaped
def transducer_best_path(
    blank: Float[Array, "T C"],
    label: Float[Array, "T U"],
    *,
    num_frames: Count = None,
    num_labels: Count = None,
) -> TransducerPath:
    """Finds the most probable path: the Viterbi alignment.

    Of equally probable paths it is the one that emits the last labels earliest. The
    gradient of its log-probability is 1 at its arcs.

    Args:
      blank: as of `transducer_log_likelihood`.
      label: as of `transducer_log_likelihood`.
      num_frames: as of `transducer_log_likelihood`.
      num_labels: as of `transducer_log_likelihood`.

    Returns:
      The frame of each label, and the log-probability of path and labels; -1 and -inf
      where there is no path.

    Raises:
      ValueError: as `transducer_log_likelihood`.
      TypeError: as `transducer_log_likelihood`.

    Example:
      >>> blank = jnp.log(jnp.full((3, 2), 0.5))
      >>> label = jnp.log(jnp.array([[0.1], [0.2], [0.7]]))
      >>> transducer_best_path(blank, label).frames
      Array([2], dtype=int32)
    """
    arcs, T, U, valid = _transducer.prepare(blank, label, num_frames, num_labels)
    skewed = _wavefront.skew(arcs)
    noise = jnp.zeros_like(skewed.blank[:, 0])
    return _trace(skewed, jnp.maximum, noise, T, U, valid)


@shaped
def transducer_sample(
    rng: Array,
    blank: Float[Array, "T C"],
    label: Float[Array, "T U"],
    *,
    num_frames: Count = None,
    num_labels: Count = None,
) -> TransducerPath:
    """Draws a path by its probability, given the labels.

    Args:
      rng: random key.
      blank: as of `transducer_log_likelihood`.
      label: as of `transducer_log_likelihood`.
      num_frames: as of `transducer_log_likelihood`.
      num_labels: as of `transducer_log_likelihood`.

    Returns:
      As `transducer_best_path`; draw several with `jax.vmap` over keys.

    Raises:
      ValueError: as `transducer_log_likelihood`.
      TypeError: as `transducer_log_likelihood`.

    Example:
      >>> import jax
      >>> half = jnp.log(jnp.full((2, 3), 0.5))
      >>> transducer_sample(jax.random.key(0), half, half[:, :2]).frames.shape
      (2,)
    """
    arcs, T, U, valid = _transducer.prepare(blank, label, num_frames, num_labels)
    skewed = _wavefront.skew(arcs)
    noise = _wavefront.logistic_noise(rng, skewed)
    return _trace(skewed, log_add, noise, T, U, valid)


def _trace(
    skewed: Arcs, combine: Any, noise: Array, T: Array, U: Array, valid: Array
) -> TransducerPath:
    found = _wavefront.forward(skewed, combine, noise)
    frames, log_prob = _wavefront.back_trace(skewed, found.emitted, T, U)
    return TransducerPath(jnp.where(valid, frames, -1), or_nan(valid, log_prob))
