"""Where a cursor may move: a table of jumps, and moves by it."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnjax.core import precision
from attnjax.core._checks import shaped
from attnjax.core.lattice._semiring import log_shares


@shaped
def jump_log_probs(
    jumps: Float[Array, "J"],
    mask: Bool[Array, "S"],
    *,
    lowest: int,
    clip: bool = False,
    content: Float[Array, "S"] | None = None,
) -> Float[Array, "S S"]:
    r"""Normalises scores of jumps over the positions that a cursor can move to.

    .. math:: p(s \mid s') = \frac{\exp(c_{s - s'} + e_s)}
                                  {\sum_{s''} \exp(c_{s'' - s'} + e_{s''})}

    Three cursors of history are three tables:

    ==================  ==============================  ==========================
    first order (HMM)   any jump                        ``lowest=-K``, ``clip=True``
    monotone            it stays or moves on            ``lowest=0``, two jumps
    the diagonal        it moves on, always             ``lowest=1``, one jump
    ==================  ==============================  ==========================

    Source: Vogel, Ney & Tillmann 1996 (COLING), eq. 6; with content, Wu & Cotterell
    2019 (arXiv:1905.06319), section 3.

    Args:
      jumps: c, the scores of the jumps lowest, lowest + 1, ..., shape [J]; -inf forbids
        one.
      mask: True = a real position, shape [S].
      lowest: the jump of the first score.
      clip: whether a jump beyond the table has its nearest score; else it is forbidden.
      content: e, scores of the positions themselves, shape [S], such as those of
        `attnjax.additive`.

    Returns:
      Log-probabilities of moves from s' (axis 0) to s (axis 1), shape [S, S], in at
      least float32. A row without a move is -inf.

    Raises:
      ValueError: if shapes disagree, or there is no jump.
      TypeError: if an array has another kind of dtype.

    Example:
      >>> stays_or_moves_on = jnp.zeros(2)
      >>> p = jump_log_probs(stays_or_moves_on, jnp.ones(3, bool), lowest=0)
      >>> jnp.exp(p).round(3)
      Array([[0.5, 0.5, 0. ],
             [0. , 0.5, 0.5],
             [0. , 0. , 1. ]], dtype=float32)
    """
    places = jnp.arange(mask.shape[0], dtype=jnp.int32)
    return _move_from(places, jumps, mask, lowest, clip, content)


@shaped
def start_log_probs(
    jumps: Float[Array, "J"],
    mask: Bool[Array, "S"],
    *,
    lowest: int,
    clip: bool = False,
    content: Float[Array, "S"] | None = None,
) -> Float[Array, "S"]:
    """Computes where the cursor begins: a jump from before the first real position.

    Args:
      jumps: as of `jump_log_probs`.
      mask: as of `jump_log_probs`.
      lowest: as of `jump_log_probs`.
      clip: as of `jump_log_probs`.
      content: as of `jump_log_probs`.

    Returns:
      Log-probabilities of the first position, shape [S], in at least float32.

    Raises:
      ValueError: as `jump_log_probs`.
      TypeError: as `jump_log_probs`.

    Example:
      >>> the_diagonal = jnp.zeros(1)
      >>> jnp.exp(start_log_probs(the_diagonal, jnp.ones(3, bool), lowest=1))
      Array([1., 0., 0.], dtype=float32)
    """
    before = jnp.sum(jnp.cumsum(mask) == 0, dtype=jnp.int32)[None] - 1
    return _move_from(before, jumps, mask, lowest, clip, content)[0]


def _move_from(
    places: Array,
    jumps: Array,
    mask: Array,
    lowest: int,
    clip: bool,
    content: Array | None,
) -> Array:
    """Log-probabilities of moves from some places [R] to all positions, [R, S]."""
    J, S = jumps.shape[0], mask.shape[0]
    if not J:
        raise ValueError("jumps: expected at least one score, got shape [0]")
    dtype = jumps.dtype if content is None else precision.promoted(jumps, content)
    dtype = precision.accumulation_dtype(dtype)
    entry = (
        jnp.arange(S, dtype=jnp.int32)[None, :] - places[:, None] - lowest
    )  # [1, S] - [R, 1]
    inside = (entry >= 0) & (entry < J)
    scores = jumps.astype(dtype)[jnp.clip(entry, 0, J - 1)]
    if content is not None:
        scores = scores + content.astype(dtype)[None, :]
    allowed = mask[None, :] if clip else mask[None, :] & inside
    return log_shares(jnp.where(allowed, scores, -jnp.inf))
