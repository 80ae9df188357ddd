"""What decoding of a transducer takes and returns.

It takes functions, no model: `join(frame, state)` scores what comes next at a node,
`advance(state, label)` feeds a label to the prediction network. `transducer_greedy`
follows one path, `transducer_beam_search` adds up those of equal labels.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attnjax.core._checks import known_value, static_int
from attnjax.core.precision import accumulation_dtype, upcast
from attnjax.decode.arguments import check_shape, int32_array

State = Any  # of the prediction network, leaves [B, ...]
Join = Callable[[Array, State], Array]  # frame [B, J], state -> logits [B, V]
Advance = Callable[[State, Array], State]  # state, label [B] -> state


class TransducerHypotheses(NamedTuple):
    """Decoded label sequences, K for each row, best first.

    A slot without a hypothesis has length 0 and log-probability -inf.
    """

    labels: Int[Array, "B K U"]  # padding: the blank
    lengths: Int[Array, "B K"]
    log_probs: Float[Array, "B K"]  # nats: of a path, or of all that were kept
    frames: Int[Array, "B K U"]  # where each label came out; -1 in padding, or unknown


def select_rows(chosen: Array, new: State, old: State) -> State:
    """Takes the rows of `new` that are chosen, else those of `old`."""

    def pick(x: Array, y: Array) -> Array:
        rows = chosen.reshape(-1, *[1] * (x.ndim - 1))  # [B] -> [B, 1, ...]
        return jnp.where(rows, x, y)

    return jax.tree.map(pick, new, old)


def frame_counts(num_frames: Any, B: int, T: int) -> tuple[Array, Array]:
    """Reads how many frames of each row are real.

    Returns:
      The counts, from 0 to T, int32 [B]; and what is added to log-probabilities [B]: 0,
      or NaN where a count that is not known while a program is traced is out of range.

    Raises:
      ValueError: if the shape is not [B], or a known count is out of range.
      TypeError: if they are no integers.
    """
    counts = int32_array("num_frames", num_frames, (B,), "one count for each row")
    wrong = (counts < 0) | (counts > T)
    known, where = known_value(counts), known_value(wrong)
    if known is not None and where is not None and where.any():
        raise ValueError(
            f"num_frames: expected numbers from 0 to {T}, got {known[where][0]} (the "
            "frames that are given are the most)"
        )
    return jnp.clip(counts, 0, T), jnp.where(wrong, jnp.nan, 0)


def joint_logits(join: Join, state: State, frames: Array) -> jax.ShapeDtypeStruct:
    """The shape of `join`'s logits, [B, V], and the dtype to add them up in.

    Raises:
      ValueError: if `frames` or the logits have another shape.
    """
    check_shape("frames", frames.shape, ("B", "T", "J"), "a batch of rows")
    # The sum is a frame, also where there is none to take.
    out = jax.eval_shape(lambda: join(jnp.sum(frames, axis=1), state))
    check_shape("join", out.shape, (len(frames), "V"), "logits of each row")
    return jax.ShapeDtypeStruct(out.shape, accumulation_dtype(out.dtype))


class Alphabet(NamedTuple):
    """Which ids a decoder may put out."""

    blank: int
    suppressed: np.ndarray  # True = never put out, [V]

    def log_probs(self, logits: Array) -> Array:
        """Log-probabilities [..., V] in at least float32; -inf of the suppressed."""
        log_probs = jax.nn.log_softmax(upcast(logits))
        return jnp.where(self.suppressed, -jnp.inf, log_probs)


def alphabet(V: int, blank: int, suppress_labels: Sequence[int]) -> Alphabet:
    """Checks the ids of an alphabet of V.

    Raises:
      ValueError: if one is out of range, or the blank is suppressed.
      TypeError: if one is no Python int.
    """
    blank = static_int("blank", blank, 0, V - 1, "the last id")
    suppressed = np.zeros(V, bool)
    for i in suppress_labels:
        suppressed[static_int("suppress_labels", i, 0, V - 1, "the last id")] = True
    if suppressed[blank]:
        raise ValueError(
            f"suppress_labels: expected ids other than the blank, got {blank} (no path "
            "ends without it)"
        )
    return Alphabet(blank, suppressed)
