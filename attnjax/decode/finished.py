"""Finished hypotheses: the list of the best, and their back-tracing.

Each step records tokens, alignments and back-pointers of the beam. Sequences are
back-traced once, at the end.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnjax.decode.constraints import Ids, Plan
from attnjax.decode.contract import Hypotheses


class Finished(NamedTuple):
    """The best finished hypotheses of each row, best first."""

    scores: Float[Array, "B N"]
    log_probs: Float[Array, "B N"]
    lengths: Int[Array, "B N"]  # 0 in an empty entry
    back_pointers: Int[Array, "B N"]  # the entry of the beam that EOS extended


class History(NamedTuple):
    """What each step chose, by entry of the beam."""

    tokens: Int[Array, "T B K"]  # the entry's last token
    back_pointers: Int[Array, "T B K"]  # the entry that it extended
    weights: Float[Array, "T B K S"]  # alignment of the extended entry


def empty_finished(plan: Plan, N: int) -> Finished:
    """Makes a list of empty entries."""
    B = plan.weights.shape[0]
    return Finished(
        scores=jnp.full((B, N), -jnp.inf, plan.dtype),
        log_probs=jnp.full((B, N), -jnp.inf, plan.dtype),
        lengths=jnp.zeros((B, N), jnp.int32),
        back_pointers=jnp.zeros((B, N), jnp.int32),
    )


def empty_history(plan: Plan, K: int) -> History:
    """Makes the history before the first step, with room for T positions."""
    (B, S), T = plan.weights.shape, plan.max_decode_length
    return History(
        tokens=jnp.zeros((T, B, K), jnp.int32),
        back_pointers=jnp.zeros((T, B, K), jnp.int32),
        weights=jnp.zeros((T, B, K, S), plan.weights.dtype),
    )


def merge(finished: Finished, new: Finished) -> Finished:
    """Merges two lists and keeps the best; of equal scores, those of the first list."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), finished, new)
    _, best = lax.top_k(both.scores, finished.scores.shape[1])
    return jax.tree.map(lambda x: take(x, best), both)


def take(x: Array, entries: Int[Array, "..."], axis: int = 1) -> Array:
    """Gathers along axis 0 or 1 of `x`; `entries` has these two axes."""
    entries = entries.reshape(*entries.shape, *[1] * (x.ndim - 2))
    return jnp.take_along_axis(x, entries, axis=axis, mode="promise_in_bounds")


def back_trace(finished: Finished, history: History, ids: Ids) -> Hypotheses:
    """Back-traces every finished hypothesis from its end to its beginning."""
    T = history.tokens.shape[0]
    last = finished.lengths - 1

    def back(entry: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Any]:
        t, tokens, back_pointers = at
        token = jnp.where(t == last, ids.eos, take(tokens, entry))
        back_pointer = jnp.where(
            t == last, finished.back_pointers, take(back_pointers, entry)
        )
        return back_pointer, (jnp.where(t <= last, token, ids.pad), back_pointer)

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
