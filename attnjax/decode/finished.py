"""Finished hypotheses of a beam search, and how back-pointers recover their tokens.

Each step records tokens, back-pointers and attention weights by beam slot; sequences
are back-traced once at the end, so that no step copies whole sequences.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnjax.decode.constraints import SpecialTokens
from attnjax.decode.contract import Hypotheses
from attnjax.decode.setup import DecodeSetup


class Finished(NamedTuple):
    """The best hypotheses that have ended, best first."""

    scores: Float[Array, "B N"]
    log_probs: Float[Array, "B N"]
    lengths: Int[Array, "B N"]  # 0 in an empty slot
    back_pointers: Int[Array, "B N"]  # the beam slot that EOS extended


class History(NamedTuple):
    """The record of every position, by beam slot."""

    tokens: Int[Array, "T B K"]  # the token that was appended
    back_pointers: Int[Array, "T B K"]  # the slot of the hypothesis that it extended
    weights: Float[Array, "T B K S"]  # attention of that slot before the extension


def empty_finished(setup: DecodeSetup, N: int) -> Finished:
    """Returns a list of N empty slots for each row."""
    B = setup.weights.shape[0]
    return Finished(
        scores=jnp.full((B, N), -jnp.inf, setup.dtype),
        log_probs=jnp.full((B, N), -jnp.inf, setup.dtype),
        lengths=jnp.zeros((B, N), jnp.int32),
        back_pointers=jnp.zeros((B, N), jnp.int32),
    )


def empty_history(setup: DecodeSetup, K: int) -> History:
    """Returns a history of T positions to be filled."""
    (B, S), T = setup.weights.shape, setup.max_decode_length
    return History(
        tokens=jnp.zeros((T, B, K), jnp.int32),
        back_pointers=jnp.zeros((T, B, K), jnp.int32),
        weights=jnp.zeros((T, B, K, S), setup.weights.dtype),
    )


def merge_finished(finished: Finished, new: Finished) -> Finished:
    """Returns the best of two lists; equal scores keep their order."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), finished, new)
    _, best = lax.top_k(both.scores, finished.scores.shape[1])
    return jax.tree.map(lambda x: gather_beams(x, best), both)


def gather_beams(x: Array, slots: Int[Array, "..."], axis: int = 1) -> Array:
    """Gathers along `axis` (0 or 1) of `x`; `slots` indexes its first two axes."""
    # [B, K] -> [B, K, 1, ...], or [K, B, 1, ...] along axis 0
    slots = slots.reshape(*slots.shape, *[1] * (x.ndim - 2))
    return jnp.take_along_axis(x, slots, axis=axis, mode="promise_in_bounds")


def backtrace(
    finished: Finished, history: History, tokens: SpecialTokens
) -> Hypotheses:
    """Follows the back-pointers of every finished hypothesis from end to beginning."""
    T = history.tokens.shape[0]
    last = finished.lengths - 1

    def previous(slot: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Any]:
        t, slot_tokens, back_pointers = at
        # EOS itself holds no beam slot: its back-pointer is in `finished`.
        token = jnp.where(t == last, tokens.eos, gather_beams(slot_tokens, slot))
        origin = jnp.where(
            t == last, finished.back_pointers, gather_beams(back_pointers, slot)
        )
        return origin, (jnp.where(t <= last, token, tokens.pad), origin)

    _, (sequences, slots) = lax.scan(
        previous,
        jnp.zeros_like(last),
        (jnp.arange(T, dtype=last.dtype), history.tokens, history.back_pointers),
        reverse=True,
    )
    # [T, B, N] slots of [T, B, K, S] -> [T, B, N, S]
    weights = jnp.take_along_axis(history.weights, slots[..., None], axis=2)
    within = jnp.arange(T, dtype=last.dtype)[:, None, None, None] <= last[..., None]
    weights = jnp.where(within, weights, 0)
    return Hypotheses(
        tokens=jnp.moveaxis(sequences, 0, 2),  # [T, B, N] -> [B, N, T]
        lengths=finished.lengths,
        log_probs=finished.log_probs,
        scores=finished.scores,
        weights=jnp.moveaxis(weights, 0, 2),  # [T, B, N, S] -> [B, N, T, S]
    )
