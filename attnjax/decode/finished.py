"""Hypotheses that have ended: the list of the best, and how they are read off.

Tokens, alignments and back_pointers of a beam are written down as they come; what was
said is followed once at the end, backwards.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnjax.decode.constraints import Ids, Plan
from attnjax.decode.contract import Hypotheses


class Finished(NamedTuple):
    """The best hypotheses that have ended, best first."""

    scores: Float[Array, "B N"]
    log_probs: Float[Array, "B N"]
    lengths: Int[Array, "B N"]  # 0 in a free place
    back_pointers: Int[Array, "B N"]  # the place in the beam that EOS extended


class History(NamedTuple):
    """What happened at every position, by place in the beam."""

    tokens: Int[Array, "T B K"]  # the token that now stands at the place
    back_pointers: Int[Array, "T B K"]  # the place it extended
    weights: Float[Array, "T B K S"]  # alignment of the place before extension


def none_finished(plan: Plan, N: int) -> Finished:
    """Returns a list of free places."""
    B = plan.weights.shape[0]
    return Finished(
        scores=jnp.full((B, N), -jnp.inf, plan.dtype),
        log_probs=jnp.full((B, N), -jnp.inf, plan.dtype),
        lengths=jnp.zeros((B, N), jnp.int32),
        back_pointers=jnp.zeros((B, N), jnp.int32),
    )


def no_history(plan: Plan, K: int) -> History:
    """Returns a history of T positions where nothing has happened."""
    (B, S), T = plan.weights.shape, plan.size
    return History(
        tokens=jnp.zeros((T, B, K), jnp.int32),
        back_pointers=jnp.zeros((T, B, K), jnp.int32),
        weights=jnp.zeros((T, B, K, S), plan.weights.dtype),
    )


def merge(finished: Finished, new: Finished) -> Finished:
    """Returns the best of two lists; of equal scores the first comes first."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), finished, new)
    _, best = lax.top_k(both.scores, finished.scores.shape[1])
    return jax.tree.map(lambda x: take(x, best), both)


def take(x: Array, places: Int[Array, "..."], axis: int = 1) -> Array:
    """Reorders axis 0 or 1 of `x` along the other; `places` has these two axes."""
    places = places.reshape(*places.shape, *[1] * (x.ndim - 2))
    return jnp.take_along_axis(x, places, axis=axis, mode="promise_in_bounds")


def read_back(finished: Finished, history: History, ids: Ids) -> Hypotheses:
    """Follows every finished hypothesis from its end to its beginning."""
    T = history.tokens.shape[0]
    last = finished.lengths - 1

    def back(place: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Any]:
        t, tokens, back_pointers = at
        token = jnp.where(t == last, ids.eos, take(tokens, place))
        origin = jnp.where(
            t == last, finished.back_pointers, take(back_pointers, place)
        )
        return origin, (jnp.where(t <= last, token, ids.pad), origin)

    _, (tokens, back_pointers) = lax.scan(
        back,
        jnp.zeros_like(last),
        (jnp.arange(T, dtype=last.dtype), history.tokens, history.back_pointers),
        reverse=True,
    )
    weights = jnp.take_along_axis(history.weights, back_pointers[..., None], axis=2)
    within = jnp.arange(T, dtype=last.dtype)[:, None, None, None] <= last[..., None]
    return Hypotheses(
        tokens=jnp.moveaxis(tokens, 0, 2),
        lengths=finished.lengths,
        log_probs=finished.log_probs,
        scores=finished.scores,
        weights=jnp.moveaxis(jnp.where(within, weights, 0), 0, 2),
    )
