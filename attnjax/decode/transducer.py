"""What decoding of a transducer takes and returns.

It takes functions, no model: `join(frame, state)` scores what comes next at a node,
`advance(state, label)` feeds a label to the prediction network. `transducer_greedy`
follows one path, `transducer_beam` adds up those of equal labels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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


def check_limits(**limits: int) -> None:
    """Checks that limits are at least 1.

    Raises:
      ValueError: naming one that is not.
    """
    for name, value in limits.items():
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
