"""The transducer's recursions, one anti-diagonal after another.

The nodes of an anti-diagonal, t + u = n, depend on the one before only: N = T + U steps
of U + 1 numbers each. Arrays [T, U + 1] are skewed to [N, U + 1], so that a step reads
one row. Every anti-diagonal is normalised, so that float32 suffices for long lattices.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from attnjax.core.lattice._semiring import finite, log_add, shares


class Arcs(NamedTuple):
    """Log-probabilities of the arcs; before `skew` [T, U + 1], after it [N, U + 1]."""

    blank: Array  # to the next frame
    label: Array  # to the next label; none leaves the last column


class Forward(NamedTuple):
    """What the forward recursion finds."""

    alpha: Array  # of the N + 1 anti-diagonals, each up to a constant, [N + 1, U + 1]
    peaks: Array  # the logarithms of these constants' ratios, [N + 1]
    emitted: Array  # whether the path into a node emits a label last, [N, U + 1]


def skew(arcs: Arcs) -> Arcs:
    """Moves column u down by u: [T, U + 1] -> [N, U + 1], with -inf where none is."""

    def one(x: Array) -> Array:
        T, W = x.shape
        padded = jnp.pad(x.T, ((0, 0), (0, W)), constant_values=-jnp.inf)
        flat = padded.reshape(W * (T + W))[: W * (T + W - 1)]  # [W, T + W] -> [W*N]
        return flat.reshape(W, T + W - 1).T  # [W*N] -> [W, N] -> [N, W]

    return Arcs(*map(one, arcs))


def unskew(x: Array, T: int) -> Array:
    """The inverse of `skew`: [N, U + 1] -> [T, U + 1]."""
    N, W = x.shape
    flat = jnp.pad(x.T.reshape(W * N), (0, W))  # [N, W] -> [W, N] -> [W*N]
    return flat.reshape(W, N + 1)[:, :T].T  # [W*N + W] -> [W, N + 1] -> [T, W]


def forward(
    arcs: Arcs, combine: Callable[[Array, Array], Array], noise: Array
) -> Forward:
    """Runs the forward recursion over skewed arcs.

    Args:
      arcs: [N, U + 1].
      combine: joins two ways into a node: `log_add`, or `jnp.maximum` for the best.
      noise: added to the way by a blank when ways are compared, [N].
    """
    W = arcs.blank.shape[1]
    start = jnp.where(jnp.arange(W, dtype=jnp.int32) == 0, 0.0, -jnp.inf).astype(
        arcs.blank.dtype
    )

    def step(alpha: Array, x: tuple[Arcs, Array]) -> tuple[Array, Forward]:
        arc, noise = x
        stay = alpha + arc.blank
        move = _shift(alpha + arc.label, 1)
        new = combine(stay, move)
        peak = finite(jnp.max(new))
        return new - peak, Forward(new - peak, peak, move > stay + noise)

    _, found = lax.scan(step, start, (arcs, noise))
    return Forward(
        jnp.concatenate([start[None], found.alpha]),  # [N, W] -> [N + 1, W]
        jnp.concatenate([jnp.zeros_like(found.peaks[:1], shape=1), found.peaks]),
        found.emitted,
    )


def log_total(found: Forward, T: Array, U: Array) -> Array:
    """The logarithm of the probability of the node (T, U); -inf if T is 0."""
    end = T + U
    count = jnp.arange(found.peaks.shape[0], dtype=jnp.int32) <= end
    total = jnp.sum(jnp.where(count, found.peaks, 0)) + found.alpha[end, U]
    # Not even the empty target has a path without a frame: it ends with a blank.
    return jnp.where(T > 0, total, -jnp.inf)


def posteriors(arcs: Arcs, alpha: Array, T: Array, U: Array) -> Arcs:
    """Runs the backward recursion; returns the posteriors of all arcs, skewed.

    Every path crosses from one anti-diagonal to the next by one arc, so the posteriors
    of these arcs are normalised by their own sum.
    """
    N, W = arcs.blank.shape

    def seed(n: Array) -> Array:
        return (jnp.arange(W, dtype=jnp.int32) == U) & (n == T + U) & (T > 0)

    def step(beta: Array, x: tuple[Array, Array, Arcs]) -> tuple[Array, Array]:
        n, alpha, arc = x
        ways = jnp.stack([arc.blank + beta, arc.label + _shift(beta, -1)])  # [2, W]
        new = log_add(ways[0], ways[1])
        new = jnp.where(seed(n), 0, new - finite(jnp.max(new)))
        return new, shares(alpha + ways, axis=(0, 1))

    last = jnp.where(seed(jnp.int32(N)), 0.0, -jnp.inf).astype(alpha.dtype)
    xs = jnp.arange(N, dtype=jnp.int32), alpha[:-1], arcs
    _, found = lax.scan(step, last, xs, reverse=True)
    return Arcs(found[:, 0], found[:, 1])  # [N, 2, W] -> 2 x [N, W]


def back_trace(arcs: Arcs, emitted: Array, T: Array, U: Array) -> tuple[Array, Array]:
    """Follows the path into (T, U) back to its start.

    Returns:
      The frame of each label, [U], or -1, and the log-probability of the path.
    """
    N, W = emitted.shape

    def step(u: Array, x: tuple[Array, Array, Arcs]) -> tuple[Array, tuple[Array, ...]]:
        n, emitted, arc = x  # n is the anti-diagonal that the arc leads to
        real = n <= T + U
        label = real & emitted[u]
        gained = jnp.where(label, arc.label[u - 1], arc.blank[u])
        slot = jnp.where(label, u - 1, W)  # W is out of range: dropped
        return jnp.where(label, u - 1, u), (slot, n - u, jnp.where(real, gained, 0))

    xs = jnp.arange(1, N + 1, dtype=jnp.int32), emitted, arcs
    _, (slots, times, gained) = lax.scan(step, U, xs, reverse=True)
    frames = jnp.full(W - 1, -1, jnp.int32).at[slots].set(times, mode="drop")
    log_prob = jnp.sum(gained)
    possible = (T > 0) & (log_prob > -jnp.inf)
    return jnp.where(possible, frames, -1), jnp.where(possible, log_prob, -jnp.inf)


def _shift(x: Array, step: int) -> Array:
    """Moves along the last axis by one, up or down; -inf comes in."""
    if step > 0:
        return jnp.pad(x[:-1], (1, 0), constant_values=-jnp.inf)
    return jnp.pad(x[1:], (0, 1), constant_values=-jnp.inf)


def logistic_noise(rng: Array, arcs: Arcs) -> Array:
    """Noise [N] with which comparing two ways draws one of them by its probability."""
    return jax.random.logistic(rng, arcs.blank.shape[:1], arcs.blank.dtype)
