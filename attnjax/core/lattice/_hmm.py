"""The recursions of a cursor over source positions, one target step after another.

The forward recursion is the filter: each step is normalised, and its normaliser is the
probability of the step given those before it. Padding leaves everything as it is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from attnjax.core import precision
from attnjax.core.lattice._counts import Count, count
from attnjax.core.lattice._semiring import finite, log_sum, shares


class Chain(NamedTuple):
    """A Markov chain of positions and what it emits, as log-probabilities."""

    initial: Array  # of the first position, [S]
    transitions: Array  # from a position to the next, [S, S], or [T - 1, S, S]
    emissions: Array  # of the target at each step, given the position, [T, S]


class Filtered(NamedTuple):
    """What the forward recursion finds at each step."""

    predictive: (
        Array  # log-probability of the step given those before, [T]; 0 in padding
    )
    prior: Array  # log-probability of the position before the step is seen, [T, S]
    posterior: Array  # and after it is seen, [T, S]


def prepare(
    initial: Array, transitions: Array, emissions: Array, num_steps: Count
) -> tuple[Chain, Array, Array]:
    """Upcasts, and checks the shape of the transitions.

    Returns:
      The chain, which steps are real [T], and whether their number was in range.
    """
    T, S = emissions.shape
    if transitions.shape not in ((S, S), (max(T - 1, 0), S, S)):
        raise ValueError(
            f"transitions: expected shape [S={S}, S={S}] or [T-1={max(T - 1, 0)}, "
            f"S={S}, S={S}], got {list(transitions.shape)} (axis -2 to axis -1)"
        )
    steps, valid = count("num_steps", num_steps, T)
    real = jnp.arange(T, dtype=jnp.int32) < steps
    arrays = upcast_together(initial, transitions, emissions)
    initial, transitions, emissions = arrays
    emissions = jnp.where(real[:, None], emissions, 0)
    if transitions.ndim == 3:
        transitions = jnp.where(real[1:, None, None], transitions, 0)
    chain = Chain(initial, transitions, emissions)
    chain, real = precision.same_devices((chain, real))
    return chain, real, valid


def upcast_together(*arrays: Array) -> tuple[Array, ...]:
    """Casts to the dtype in which sums of all of them accumulate."""
    dtype = precision.accumulation_dtype(precision.promoted(*arrays))
    return tuple(x.astype(dtype) for x in arrays)


def filter_steps(chain: Chain, real: Array) -> Filtered:
    """Runs the filter over a chain of at least one step."""

    def step(posterior: Array, x: Any) -> tuple[Array, Filtered]:
        given, emission, real = x
        ways = posterior[:, None] + moves(chain, given)  # [S, 1] + [S, S]
        prior = log_sum(ways, axis=0)
        found = update(prior, emission, real)
        kept = jnp.where(real, found.posterior, posterior)
        return kept, found._replace(posterior=kept)

    first = update(chain.initial, chain.emissions[0], real[0])
    _, rest = lax.scan(step, first.posterior, per_step(chain, real))
    return jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), first, rest)


def update(prior: Array, emission: Array, real: Array) -> Filtered:
    """Sees one step: prior [S] and emission [S] to the normalised posterior [S]."""
    joint = prior + emission
    total = log_sum(joint)
    return Filtered(jnp.where(real, total, 0), prior, joint - finite(total))


def per_step(chain: Chain, real: Array) -> tuple[Array | None, Array, Array]:
    """Transitions, emissions and reality of all steps but the first, [T - 1, ...].

    The transitions are None where all steps share them: they are not repeated.
    """
    shared = chain.transitions.ndim == 2
    return None if shared else chain.transitions, chain.emissions[1:], real[1:]


def moves(chain: Chain, given: Array | None) -> Array:
    """The transitions [S, S] of a step of `per_step`."""
    return chain.transitions if given is None else given


@jax.custom_vjp
def log_likelihood(chain: Chain, real: Array) -> Array:
    """The log-likelihood of the real steps; its gradient is their posterior."""
    return _forward(chain, real)[0]


def _forward(chain: Chain, real: Array) -> tuple[Array, Any]:
    found = filter_steps(chain, real)
    return jnp.sum(found.predictive), (chain, real, found.posterior)


def _backward(residuals: Any, cotangent: Array) -> tuple[Any, None]:
    return jax.tree.map(lambda x: x * cotangent, smooth(*residuals)), None


log_likelihood.defvjp(_forward, _backward)


def smooth(chain: Chain, real: Array, filtered: Array) -> Chain:
    """Runs the backward recursion; returns posteriors, shaped as the chain.

    Where the transitions are shared by all steps, theirs are summed over steps.
    """
    shared = chain.transitions.ndim == 2
    S = chain.emissions.shape[1]

    def step(carry: tuple[Array, Array], x: Any) -> tuple[Any, tuple[Array, Any]]:
        beta, counts = carry  # of the step after, [S]
        before, given, emission, real = x
        ahead = moves(chain, given) + (emission + beta)[None, :]  # [S, S] + [1, S]
        pairs = jnp.where(real, shares(before[:, None] + ahead, axis=(0, 1)), 0)
        new = log_sum(ahead, axis=1)
        beta_before = jnp.where(
            real, new - finite(jnp.max(new, initial=-jnp.inf)), beta
        )
        node = jnp.where(real, jnp.sum(pairs, axis=0), 0)
        if shared:
            return (beta_before, counts + pairs), (node, None)
        return (beta_before, counts), (node, pairs)

    zeros = jnp.zeros((S, S) if shared else (), filtered.dtype)
    carry = precision.same_devices((jnp.zeros_like(filtered[0]), zeros, filtered))[:2]
    xs = (filtered[:-1], *per_step(chain, real))
    (beta, counts), (nodes, pairs) = lax.scan(step, carry, xs, reverse=True)
    first = jnp.where(real[0], shares(filtered[0] + beta), 0)
    nodes = jnp.concatenate([first[None], nodes])  # [T - 1, S] -> [T, S]
    return Chain(first, counts if shared else pairs, nodes)


def best_path(chain: Chain, real: Array) -> Array:
    """Finds the positions [T] of the most probable path."""

    def step(alpha: Array, x: Any) -> tuple[Array, Array]:
        given, emission, real = x
        ways = alpha[:, None] + moves(chain, given)  # [S, 1] + [S, S]
        into = jnp.max(ways, axis=0) + emission
        return (
            jnp.where(real, into - finite(jnp.max(into)), alpha),
            _pointers(ways, real),
        )

    first = chain.initial + chain.emissions[0]
    last, pointers = lax.scan(step, first, per_step(chain, real))
    return _follow(last, pointers)


def drawn_path(chain: Chain, real: Array, noise: Array) -> Array:
    """Draws the positions [T] of a path with Gumbel noise [T, S], from the last one."""
    noisy = filter_steps(chain, real).posterior + noise

    def step(_: None, x: Any) -> tuple[None, Array]:
        before, given, _, real = x
        return None, _pointers(before[:, None] + moves(chain, given), real)

    _, pointers = lax.scan(step, None, (noisy[:-1], *per_step(chain, real)))
    return _follow(noisy[-1], pointers)


def _pointers(ways: Array, real: Array) -> Array:
    """Back-pointers [S]: the best position before each; itself in padding."""
    S = ways.shape[0]
    best = jnp.argmax(ways, axis=0).astype(jnp.int32)
    return jnp.where(real, best, jnp.arange(S, dtype=jnp.int32))


def _follow(last: Array, pointers: Array) -> Array:
    """Follows back-pointers [T - 1, S] from the best last position to the first."""

    def step(s: Array, pointers: Array) -> tuple[Array, Array]:
        return pointers[s], s

    end = jnp.argmax(last).astype(jnp.int32)
    first, rest = lax.scan(step, end, pointers, reverse=True)
    return jnp.concatenate([first[None], rest])


def path_log_prob(chain: Chain, real: Array, path: Array) -> Array:
    """The log-probability of one path [T] and what it emits."""
    t = jnp.arange(path.shape[0], dtype=jnp.int32)
    step: tuple[Array, ...] = path[:-1], path[1:]
    if chain.transitions.ndim == 3:
        step = t[:-1], *step
    moved = jnp.where(real[1:], chain.transitions[step], 0).sum()
    emitted = jnp.where(real, chain.emissions[t, path], 0).sum()
    return jnp.where(real[0], chain.initial[path[0]], 0) + moved + emitted
