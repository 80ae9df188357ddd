"""Beam search of a transducer, by anti-diagonals; equal labels are merged."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnjax.core._checks import static_int
from attnjax.core.lattice._semiring import log_add, log_sum
from attnjax.decode.arguments import row_limits
from attnjax.decode.transducer import (
    Advance,
    Alphabet,
    Join,
    State,
    TransducerHypotheses,
    alphabet,
    frame_counts,
    joint_logits,
    select_rows,
)


class _Beam(NamedTuple):
    labels: Array  # [B, K, U]
    length: Array  # [B, K]
    log_prob: Array  # [B, K]; -inf: no hypothesis


class _Search(NamedTuple):
    n: Array  # anti-diagonal: frames passed and labels emitted, together
    active: _Beam
    finished: _Beam
    state: State  # of the active hypotheses, leaves [B*K, ...]


def transducer_beam_search(
    join: Join,
    advance: Advance,
    state: State,
    frames: Float[Array, "B T J"],
    num_frames: Int[Array, "B"],
    *,
    max_labels: int | Int[Array, "B"],
    beam_size: int,
    max_decode_length: int | None = None,
    blank: int = 0,
    suppress_labels: Sequence[int] = (),
) -> TransducerHypotheses:
    r"""Searches for the labels with the highest probability, over all their paths.

    Hypotheses that are compared have passed equally many arcs, t + u, so that two with
    the same labels stand at the same node: they are merged, and their probabilities
    add. With a beam that holds every sequence the probabilities are exact. Any number
    of labels may come out at a frame. Search ends when what is active has less
    probability, all together, than the last of the K finished ones.

    Source: Saon, Tueske & Audhkhasi 2020 (ICASSP), algorithm 1 (alignment-length
    synchronous decoding); merging: Graves 2012 (arXiv:1211.3711), algorithm 1.

    Args:
      join: as of `transducer_greedy`.
      advance: as of `transducer_greedy`.
      state: as of `transducer_greedy`.
      frames: as of `transducer_greedy`.
      num_frames: as of `transducer_greedy`.
      max_labels: as of `transducer_greedy`.
      beam_size: K, hypotheses that are kept.
      max_decode_length: as of `transducer_greedy`.
      blank: id of the blank.
      suppress_labels: as of `transducer_greedy`.

    Returns:
      K hypotheses for each row, with frames of -1: a sum has no single path. NaN as
      in `transducer_greedy`.

    Raises:
      ValueError: as `transducer_greedy`.
      TypeError: as `transducer_greedy`.
    """
    K = static_int("beam_size", beam_size, 1)
    frames = jnp.asarray(frames)
    logits = joint_logits(join, state, frames)
    ids = alphabet(logits.shape[1], blank, suppress_labels)
    B, T, _ = frames.shape
    limits, U = row_limits("max_labels", max_labels, max_decode_length, B)
    counts, invalid = frame_counts(num_frames, B, T)
    empty = _Beam(
        jnp.full((B, K, U), ids.blank, jnp.int32),
        jnp.zeros((B, K), jnp.int32),
        jnp.full((B, K), -jnp.inf, logits.dtype),
    )
    first = empty._replace(
        log_prob=empty.log_prob.at[:, 0].set(jnp.where(counts > 0, 0.0, -jnp.inf))
    )
    # [B, ...] -> [B*K, ...]
    search = _Search(
        jnp.int32(0), first, empty, jax.tree.map(lambda x: x.repeat(K, axis=0), state)
    )

    def going(search: _Search) -> Array:
        left = log_sum(search.active.log_prob)
        return jnp.any(left > search.finished.log_prob[:, -1])

    def step(search: _Search) -> _Search:
        return _advance_beam(search, join, advance, frames, counts, limits, ids=ids)

    if T:
        search = lax.while_loop(going, step, search)
    found = search.finished
    return TransducerHypotheses(
        found.labels,
        found.length,
        found.log_prob + invalid[:, None],  # [B] -> [B, 1]
        jnp.full((B, K, U), -1, jnp.int32),
    )


def _advance_beam(
    search: _Search,
    join: Join,
    advance: Advance,
    frames: Array,
    num_frames: Array,
    limits: Array,
    *,
    ids: Alphabet,
) -> _Search:
    """Moves every hypothesis by one arc, to the next anti-diagonal."""
    active = search.active
    B, K, U = active.labels.shape
    t = search.n - active.length  # [B, K]
    at = jnp.clip(t, 0, frames.shape[1] - 1)
    here = jnp.take_along_axis(frames, at[:, :, None], axis=1)  # [B, K, J]
    logits = join(here.reshape(B * K, -1), search.state)  # [B, K, J] -> [B*K, J]
    log_probs = ids.log_probs(logits).reshape(B, K, -1)  # [B*K, V] -> [B, K, V]
    V = log_probs.shape[-1]
    arcs = active.log_prob[:, :, None] + log_probs
    by_blank = arcs[:, :, ids.blank]
    by_label = jnp.where(jnp.arange(V) == ids.blank, -jnp.inf, arcs)
    may_emit = active.length < limits[:, None]  # [B] -> [B, 1]
    by_label = jnp.where(may_emit[:, :, None], by_label, -jnp.inf)
    by_blank, by_label = _merge(active, by_blank, by_label)
    last = t == num_frames[:, None] - 1
    finished = _best(
        search.finished, active._replace(log_prob=jnp.where(last, by_blank, -jnp.inf))
    )
    by_blank = jnp.where(last, -jnp.inf, by_blank)
    # [B, K, V] -> [B, K*V]
    ways = jnp.concatenate([by_blank, by_label.reshape(B, K * V)], axis=1)
    log_prob, chosen = lax.top_k(ways, K)
    origin = jnp.where(chosen < K, chosen, (chosen - K) // V)
    label = jnp.where(chosen < K, ids.blank, (chosen - K) % V).astype(jnp.int32)
    moved = _Beam(*(_gather(x, origin) for x in active))
    rows, beams = jnp.arange(B)[:, None], jnp.arange(K)[None]
    where = jnp.where(label == ids.blank, U, moved.length)  # out of range: dropped
    moved = _Beam(
        moved.labels.at[rows, beams, where].set(label, mode="drop"),
        jnp.where(label == ids.blank, moved.length, moved.length + 1),
        log_prob,
    )
    source = (rows * K + origin).reshape(B * K)  # [B, K] -> [B*K]
    state = jax.tree.map(lambda x: x[source], search.state)
    label = label.reshape(B * K)  # [B, K] -> [B*K]
    state = select_rows(label != ids.blank, advance(state, label), state)
    return _Search(search.n + 1, moved, finished, state)


def _merge(active: _Beam, by_blank: Array, by_label: Array) -> tuple[Array, Array]:
    """Adds the way to labels y by a label to that by a blank, where both are there.

    The one comes from the hypothesis y, the other from y without its last label.
    """
    labels, length = active.labels, active.length
    U, V = labels.shape[-1], by_label.shape[-1]
    at = jnp.maximum(length - 1, 0)[:, :, None]
    last = jnp.take_along_axis(labels, at, axis=2)[:, :, 0]  # [B, K, 1] -> [B, K]
    shortened = jnp.where(jnp.arange(U) == at, 0, labels)
    plain = jnp.where(jnp.arange(U) < length[:, :, None], labels, 0)
    shortened = jnp.where(jnp.arange(U) < length[:, :, None], shortened, 0)
    # Entry [b, k, j]: hypothesis j is hypothesis k without its last label.
    same = jnp.all(shortened[:, :, None] == plain[:, None], axis=-1)
    same &= length[:, :, None] == length[:, None] + 1
    same &= (active.log_prob > -jnp.inf)[:, None]
    same &= (active.log_prob > -jnp.inf)[:, :, None]
    which, found = jnp.argmax(same, axis=2), jnp.any(same, axis=2)
    other = jnp.take_along_axis(by_label, which[:, :, None], axis=1)  # [B, K, V]
    other = jnp.take_along_axis(other, last[:, :, None], axis=2)[:, :, 0]  # [B, K]
    by_blank = jnp.where(found, log_add(by_blank, other), by_blank)
    rows = jnp.arange(labels.shape[0])[:, None]
    drop = jnp.where(found, last, V)  # out of range: dropped
    return by_blank, by_label.at[rows, which, drop].set(-jnp.inf, mode="drop")


def _best(one: _Beam, other: _Beam) -> _Beam:
    """Keeps the K best of two lists, best first."""
    K = one.log_prob.shape[1]
    both = _Beam(
        *(jnp.concatenate(pair, axis=1) for pair in zip(one, other, strict=True))
    )
    _, kept = lax.top_k(both.log_prob, K)
    return _Beam(*(_gather(x, kept) for x in both))


def _gather(x: Array, index: Array) -> Array:
    """Picks hypotheses: [B, N, ...] and [B, K] -> [B, K, ...]."""
    index = index.reshape(*index.shape, *[1] * (x.ndim - 2))  # [B, K] -> [B, K, 1, ...]
    return jnp.take_along_axis(x, index, axis=1)
