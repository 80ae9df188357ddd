"""Greedy decoding of CTC: the most probable symbol at each frame, collapsed."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.core._checks import shaped
from attnjax.decode.transducer import TransducerHypotheses, alphabet, frame_counts


@shaped
def ctc_greedy(
    logits: Float[Array, "B T V"],
    num_frames: Int[Array, "B"],
    *,
    blank: int = 0,
    suppress_labels: Sequence[int] = (),
) -> TransducerHypotheses:
    """Takes the most probable symbol at each frame; repeats become one, blanks go.

    The log-probability is that of the path, not of the labels, which other paths have
    too. The path is the most probable one, its labels need not be.

    Source: Graves et al. 2006 (ICML), section 3.2: best path decoding.

    Args:
      logits: scores of every frame, shape [B, T, V]; log-probabilities serve as well.
      num_frames: frames of each row that are real, at most T, shape [B].
      blank: id of the blank.
      suppress_labels: as of `attnjax.decode.transducer_greedy`.

    Returns:
      One hypothesis for each row, and the frame at which each label begins; none, with
      length 0, for a row without frames. Its log-probability is NaN if a count of
      frames that is not known while a program is traced is out of range.

    Raises:
      ValueError: if shapes disagree, or a known count or an id is out of range.
      TypeError: if an array has another kind of dtype, or an id is no Python int.

    Example:
      >>> scores = jnp.eye(3)[jnp.array([[1, 1, 0, 1, 2, 2]])]  # a a - a b b
      >>> ctc_greedy(scores, jnp.array([6])).labels[0, 0]
      Array([1, 1, 2, 0, 0, 0], dtype=int32)
    """
    B, T, V = logits.shape
    ids = alphabet(V, blank, suppress_labels)
    blank, log_probs = ids.blank, ids.log_probs(logits)
    counts, invalid = frame_counts(num_frames, B, T)
    frames = jnp.arange(T, dtype=jnp.int32)
    real = frames < counts[:, None]  # [B] -> [B, 1]
    best = jnp.where(real, jnp.argmax(log_probs, axis=-1), blank).astype(jnp.int32)
    before = jnp.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=blank)
    begins = (best != blank) & (best != before)
    slot = jnp.where(begins, jnp.cumsum(begins, axis=1) - 1, T)  # T: dropped
    rows = jnp.arange(B)[:, None]  # [B] -> [B, 1]

    def place(x: Array, fill: int) -> Array:
        empty = jnp.full((B, T), fill, jnp.int32)
        return empty.at[rows, slot].set(x, mode="drop")[:, None]  # -> [B, 1, T]

    at_best = jnp.max(log_probs, axis=-1)
    total = jnp.sum(jnp.where(real, at_best, 0), axis=1)
    total = jnp.where(counts > 0, total, -jnp.inf) + invalid
    return TransducerHypotheses(
        place(best, blank),
        jnp.sum(begins, axis=1, dtype=jnp.int32)[:, None],  # [B] -> [B, 1]
        total[:, None],  # [B] -> [B, 1]
        place(jnp.broadcast_to(frames, (B, T)), -1),
    )
