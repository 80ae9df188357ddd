"""Single paths of a cursor over source positions: the most probable, and samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.core._checks import shaped
from attnjax.core.lattice import _hmm
from attnjax.core.lattice._counts import Count, or_nan


class HMMPath(NamedTuple):
    """A path: the source position of each target step."""

    positions: Int[Array, "... T"]  # from 0; -1 in padding, or if there is none
    log_prob: Float[Array, "..."]  # of the path and what it emits


@shaped
def hmm_best_path(
    initial: Float[Array, "S"],
    transitions: Float[Array, "... S S"],
    emissions: Float[Array, "T S"],
    *,
    num_steps: Count = None,
) -> HMMPath:
    """Finds the most probable path: the Viterbi alignment; the first of equals.

    The gradient of its log-probability is 1 at its moves and emissions.

    Source: Viterbi 1967; Rabiner 1989, section III.B.

    Args:
      initial: as of `hmm_log_likelihood`.
      transitions: as of `hmm_log_likelihood`.
      emissions: as of `hmm_log_likelihood`.
      num_steps: as of `hmm_log_likelihood`.

    Returns:
      The position of each step, and the log-probability of path and emissions; -1 and
      -inf where there is no path.

    Raises:
      ValueError: as `hmm_log_likelihood`.
      TypeError: as `hmm_log_likelihood`.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> emissions = jnp.log(jnp.array([[0.1, 0.3], [0.4, 0.2]]))
      >>> hmm_best_path(half[0], half, emissions).positions
      Array([1, 0], dtype=int32)
    """
    return _path(initial, transitions, emissions, num_steps, None)


@shaped
def hmm_sample(
    rng: Array,
    initial: Float[Array, "S"],
    transitions: Float[Array, "... S S"],
    emissions: Float[Array, "T S"],
    *,
    num_steps: Count = None,
) -> HMMPath:
    """Draws a path by its probability, given what it emits.

    Args:
      rng: random key.
      initial: as of `hmm_log_likelihood`.
      transitions: as of `hmm_log_likelihood`.
      emissions: as of `hmm_log_likelihood`.
      num_steps: as of `hmm_log_likelihood`.

    Returns:
      As `hmm_best_path`; draw several with `jax.vmap` over keys.

    Raises:
      ValueError: as `hmm_log_likelihood`.
      TypeError: as `hmm_log_likelihood`.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> path = hmm_sample(jax.random.key(0), half[0], half, jnp.zeros((3, 2)))
      >>> path.positions.shape
      (3,)
    """
    return _path(initial, transitions, emissions, num_steps, rng)


def _path(
    initial: Array,
    transitions: Array,
    emissions: Array,
    num_steps: Count,
    rng: Array | None,
) -> HMMPath:
    chain, real, valid = _hmm.prepare(initial, transitions, emissions, num_steps)
    dtype = chain.emissions.dtype
    if not emissions.size:
        nowhere = jnp.where(jnp.any(real), -jnp.inf, 0).astype(dtype)
        positions = jnp.full(len(real), -1, jnp.int32)
        return HMMPath(positions, or_nan(valid, nowhere))
    if rng is None:
        path = _hmm.best_path(chain, real)
    else:
        noise = jax.random.gumbel(rng, emissions.shape, dtype)
        path = _hmm.drawn_path(chain, real, noise)
    log_prob = _hmm.path_log_prob(chain, real, path)
    possible = valid & (log_prob > -jnp.inf)
    positions = jnp.where(real & possible, path, -1)
    return HMMPath(positions, or_nan(valid, log_prob))
