"""CTC's recursions, one frame after another, over 2 U + 1 states.

State 2 u is the blank after u labels, state 2 u + 1 label u. A path is in one state at
every frame: it stays, moves on by one, or skips a blank between two different labels.
Every frame is normalised, so that float32 suffices for long lattices.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from attnjax.core import precision
from attnjax.core.lattice._counts import Count, check_labels, count
from attnjax.core.lattice._semiring import finite, log_sum, shares


class States(NamedTuple):
    """A lattice without padding; N = 2 U + 1."""

    emissions: Array  # log-probability of each state's symbol, [T, N]
    skips: Array  # whether a path may come from two states before, [N]
    T: Array
    U: Array


def prepare(
    log_probs: Array, labels: Array, blank: int, num_frames: Count, num_labels: Count
) -> tuple[States, Array]:
    """Gathers what each state emits, and replaces what is padding by 0.

    Returns:
      The lattice, and whether labels and counts were valid.
    """
    T, V = log_probs.shape
    frames, valid = count("num_frames", num_frames, T)
    real, also = count("num_labels", num_labels, labels.shape[0])
    ids, right = check_labels(labels, V, blank, real)
    log_probs, ids, frames, real = precision.same_devices(
        (precision.upcast(log_probs), ids, frames, real)
    )
    log_probs = jnp.where(_is_real(T, frames)[:, None], log_probs, 0)  # [T] -> [T, 1]
    symbols = jnp.full(2 * len(ids) + 1, blank, ids.dtype).at[1::2].set(ids)
    # Between two equal labels a blank must be: without it they are one.
    other = symbols != jnp.roll(symbols, 2)
    skips = other & (symbols != blank) & (jnp.arange(len(symbols)) > 1)
    states = States(log_probs[:, symbols], skips, frames, real)
    return states, valid & also & right


@jax.custom_vjp
def log_likelihood(emissions: Array, skips: Array, T: Array, U: Array) -> Array:
    """The log-likelihood; its gradient is the posterior of every frame's state."""
    return _likelihood_and_residuals(emissions, skips, T, U)[0]


def _likelihood_and_residuals(*states: Array) -> tuple[Array, Any]:
    given = States(*states)
    alphas, peaks = forward(given)
    total = jnp.sum(peaks) + log_sum(alphas[-1] + _ends(given))
    return total, (given, alphas)


def _log_likelihood_backward(residuals: Any, cotangent: Array) -> tuple[Any, ...]:
    return cotangent * posteriors(*residuals), None, None, None


log_likelihood.defvjp(_likelihood_and_residuals, _log_likelihood_backward)


def forward(states: States) -> tuple[Array, Array]:
    """Runs the forward recursion.

    Returns:
      Before the first frame and after each, log-probabilities up to a constant,
      [T + 1, N]; and the logarithms of these constants' ratios, [T].
    """
    T, N = states.emissions.shape

    def step(alpha: Array, x: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        emission, real = x
        new = log_sum(ways_into(alpha, states.skips), axis=0) + emission
        peak = jnp.where(real, finite(jnp.max(new)), 0)
        alpha = jnp.where(real, new - peak, alpha)
        return alpha, (alpha, peak)

    first = start(N, states.emissions.dtype)
    _, (alphas, peaks) = lax.scan(
        step, first, (states.emissions, _is_real(T, states.T))
    )
    return jnp.concatenate([first[None], alphas]), peaks  # [T, N] -> [T + 1, N]


def posteriors(states: States, alphas: Array) -> Array:
    """Runs the backward recursion; returns the posteriors of states, [T, N].

    Every path is in one state at a frame, so that a frame's posteriors are normalised
    by their own sum. They are 0 in padding, and where there is no path.
    """
    T = states.emissions.shape[0]

    def step(beta: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        emission, alpha, real = x
        found = jnp.where(real, shares(alpha + beta), 0)
        ahead = log_sum(_ways_out(beta + emission, states.skips), axis=0)
        new = jnp.where(real, ahead - finite(jnp.max(ahead)), beta)
        return new, found

    xs = states.emissions, alphas[1:], _is_real(T, states.T)
    _, found = lax.scan(step, _ends(states), xs, reverse=True)
    return found


def start(N: int, dtype: Any) -> Array:
    """Before the first frame: as if in the first blank, [N]."""
    return jnp.where(jnp.arange(N) == 0, 0.0, -jnp.inf).astype(dtype)


def ways_into(alpha: Array, skips: Array) -> Array:
    """The ways into each state: from itself, one before and two before, [3, N]."""
    N = alpha.shape[0]
    padded = jnp.pad(alpha, (2, 0), constant_values=-jnp.inf)
    skipped = jnp.where(skips, padded[:N], -jnp.inf)
    return jnp.stack([alpha, padded[1 : N + 1], skipped])


def _ways_out(beta: Array, skips: Array) -> Array:
    N = beta.shape[0]
    padded = jnp.pad(beta, (0, 2), constant_values=-jnp.inf)
    skipped = jnp.where(jnp.pad(skips, (0, 2))[2:], padded[2:], -jnp.inf)
    return jnp.stack([beta, padded[1 : N + 1], skipped])


def back_trace(states: States) -> tuple[Array, Array]:
    """Finds the most probable path.

    Returns:
      The state of each frame, [T], -1 in padding or without a path; and its
      log-probability.
    """
    T, N = states.emissions.shape
    real = _is_real(T, states.T)

    def step(alpha: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
        emission, real = x
        ways = ways_into(alpha, states.skips)
        new = jnp.max(ways, axis=0) + emission
        return jnp.where(real, new, alpha), jnp.argmax(ways, axis=0)

    first = start(N, states.emissions.dtype)
    last, moves = lax.scan(step, first, (lax.stop_gradient(states.emissions), real))
    ends = last + _ends(states)

    def back(state: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
        move, real = x
        return jnp.where(real, state - move[state], state), state

    _, path = lax.scan(back, jnp.argmax(ends), (moves, real), reverse=True)
    gained = jnp.take_along_axis(states.emissions, path[:, None], axis=1)[:, 0]
    possible = jnp.max(ends) > -jnp.inf
    total = jnp.where(possible, jnp.sum(jnp.where(real, gained, 0)), -jnp.inf)
    return jnp.where(real & possible, path, -1), total


def _ends(states: States) -> Array:
    """0 at the states in which a path may end, else -inf, [N]."""
    N = states.emissions.shape[1]
    state = jnp.arange(N, dtype=jnp.int32)
    # The last blank, or the last label.
    end = (state == 2 * states.U) | (state == 2 * states.U - 1)
    return jnp.where(end, 0.0, -jnp.inf).astype(states.emissions.dtype)


def _is_real(T: int, frames: Array) -> Array:
    return jnp.arange(T, dtype=jnp.int32) < frames
