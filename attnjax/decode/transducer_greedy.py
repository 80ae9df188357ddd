"""Greedy decoding of a transducer: the most probable arc at each node."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attnjax.core._checks import static_int
from attnjax.decode.arguments import row_limits
from attnjax.decode.transducer import (
    Advance,
    Join,
    State,
    TransducerHypotheses,
    alphabet,
    frame_counts,
    joint_logits,
    select_rows,
)


class _Greedy(NamedTuple):
    t: Array  # frame, [B]
    here: Array  # labels emitted at this frame, [B]
    labels: Array  # [B, U]
    frames: Array  # [B, U]
    length: Array  # [B]
    log_prob: Array  # [B]
    state: State


def transducer_greedy(
    join: Join,
    advance: Advance,
    state: State,
    frames: Float[Array, "B T J"],
    num_frames: Int[Array, "B"],
    *,
    max_labels: int | Int[Array, "B"],
    max_per_frame: int,
    max_decode_length: int | None = None,
    blank: int = 0,
    suppress_labels: Sequence[int] = (),
) -> TransducerHypotheses:
    """Follows the most probable arc at each node.

    A frame may emit several labels, `max_per_frame` at most: then the blank is taken
    without a choice, so that decoding ends. The log-probability is that of the path.

    Source: Graves 2012 (arXiv:1211.3711), section 2.5, with a beam of one.

    Args:
      join: scores what comes next.
      advance: feeds labels to the prediction network.
      state: of the prediction network before the first label, leaves [B, ...].
      frames: the encoder's output, shape [B, T, J].
      num_frames: frames of each row that are real, at most T, shape [B].
      max_labels: the most labels of a row, after which only blanks are taken. An int,
        or one per row; a row with 0 gets no label.
      max_per_frame: the most labels of a frame, at least 1.
      max_decode_length: U, the static number of labels that there is room for; default
        `max_labels`, required where that is an array.
      blank: id of the blank.
      suppress_labels: ids that are never put out, such as those of special tokens; the
        probabilities of others are what they were.

    Returns:
      One hypothesis for each row; none for a row without frames. Its log-probability
      is NaN if a count of frames that is not known while a program is traced is out of
      range.

    Raises:
      ValueError: if a shape disagrees, a limit is below its minimum, or an id, or a
        known count of frames, is out of range.
      TypeError: if a count, a limit or an id is no integer.
    """
    max_per_frame = static_int("max_per_frame", max_per_frame, 1)
    frames = jnp.asarray(frames)
    logits = joint_logits(join, state, frames)
    ids = alphabet(logits.shape[1], blank, suppress_labels)
    B, T, _ = frames.shape
    limits, U = row_limits("max_labels", max_labels, max_decode_length, B)
    counts, invalid = frame_counts(num_frames, B, T)
    rows = jnp.arange(B)

    def going(c: _Greedy) -> Array:
        return jnp.any(c.t < counts)

    def step(c: _Greedy) -> _Greedy:
        live = c.t < counts
        frame = frames[rows, jnp.minimum(c.t, T - 1)]
        log_probs = ids.log_probs(join(frame, c.state))
        full = (c.here >= max_per_frame) | (c.length >= limits)
        best = jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
        best = jnp.where(full, ids.blank, best)
        gained = jnp.take_along_axis(log_probs, best[:, None], axis=1)[:, 0]  # [B, 1]
        emits = live & (best != ids.blank)
        at = jnp.where(emits, c.length, U)  # out of range: dropped
        return _Greedy(
            jnp.where(live & ~emits, c.t + 1, c.t),
            jnp.where(emits, c.here + 1, 0),
            c.labels.at[rows, at].set(best, mode="drop"),
            c.frames.at[rows, at].set(c.t, mode="drop"),
            jnp.where(emits, c.length + 1, c.length),
            c.log_prob + jnp.where(live, gained, 0),
            select_rows(emits, advance(c.state, best), c.state),
        )

    end = _start(state, B, U, ids.blank, logits.dtype)
    if T:
        end = lax.while_loop(going, step, end)
    log_prob = jnp.where(counts > 0, end.log_prob, -jnp.inf) + invalid
    found = end.labels, end.length, log_prob, end.frames
    return TransducerHypotheses(*(x[:, None] for x in found))  # [B] -> [B, 1]


def _start(state: State, B: int, U: int, blank: int, dtype: DTypeLike) -> _Greedy:
    """The first node of each row, before any label."""
    zeros = jnp.zeros(B, jnp.int32)
    return _Greedy(
        t=zeros,
        here=zeros,
        labels=jnp.full((B, U), blank, jnp.int32),
        frames=jnp.full((B, U), -1, jnp.int32),
        length=zeros,
        log_prob=jnp.zeros(B, dtype),
        state=state,
    )
