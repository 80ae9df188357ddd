"""Greedy decoding of a transducer: the most probable arc at each node."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attnjax.decode.transducer import (
    Advance,
    Join,
    State,
    TransducerHypotheses,
    check_limits,
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
    max_labels: int,
    max_per_frame: int,
    blank: int = 0,
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
      num_frames: frames of each row that are real, shape [B].
      max_labels: U, the most labels of a row.
      max_per_frame: the most labels of a frame, at least 1.
      blank: id of the blank.

    Returns:
      One hypothesis for each row; none for a row without frames.

    Raises:
      ValueError: if a limit is below its minimum.
    """
    check_limits(max_labels=max_labels, max_per_frame=max_per_frame)
    B, T, _ = frames.shape
    rows = jnp.arange(B)

    def going(c: _Greedy) -> Array:
        return jnp.any(c.t < num_frames)

    def step(c: _Greedy) -> _Greedy:
        live = c.t < num_frames
        logits = join(frames[rows, jnp.minimum(c.t, T - 1)], c.state)
        log_probs = jax.nn.log_softmax(logits)
        full = (c.here >= max_per_frame) | (c.length >= max_labels)
        best = jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
        best = jnp.where(full, blank, best)
        gained = jnp.take_along_axis(log_probs, best[:, None], axis=1)[:, 0]  # [B, 1]
        emits = live & (best != blank)
        at = jnp.where(emits, c.length, max_labels)  # out of range: dropped
        return _Greedy(
            jnp.where(live & ~emits, c.t + 1, c.t),
            jnp.where(emits, c.here + 1, 0),
            c.labels.at[rows, at].set(best, mode="drop"),
            c.frames.at[rows, at].set(c.t, mode="drop"),
            jnp.where(emits, c.length + 1, c.length),
            c.log_prob + jnp.where(live, gained, 0),
            select_rows(emits, advance(c.state, best), c.state),
        )

    dtype = jax.eval_shape(join, frames[:, 0], state).dtype if T else jnp.float32
    end = _start(state, B, max_labels, blank, dtype)
    if T:
        end = lax.while_loop(going, step, end)
    log_prob = jnp.where(num_frames > 0, end.log_prob, -jnp.inf)
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
