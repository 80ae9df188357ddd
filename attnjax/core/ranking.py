"""Ranking memories: the margin that trains it, and comparisons that know write times.

A memory network attends to the one memory that ranks first. Its scores are compared
pair by pair, because which of two memories is newer may decide. Memories are in the
order in which they were written, so the write time of a memory is its index.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def margin_ranking(
    positive: Float[Array, "*B"], negative: Float[Array, "*B"], *, margin: float = 0.1
) -> Float[Array, "*B"]:
    r"""Penalises a wrong candidate that scores within a margin of the right one.

    .. math:: \max(0, \gamma - s + \bar s)

    Source: Weston, Chopra & Bordes 2014 (arXiv:1410.3916), eqs. 6 to 8, there with
    gamma = 0.1 and summed over candidates.

    Args:
      positive: s, scores of the right candidates, shape [...].
      negative: scores of wrong ones, shape [...].
      margin: gamma, by how much the right one must win, more than 0.

    Returns:
      At least 0, in units of the scores, shape [...], in at least float32.

    Raises:
      ValueError: if the shapes differ, or the margin is not positive.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> margin_ranking(jnp.array([1.0, 0.5]), jnp.array([0.0, 0.75]), margin=0.25)
      Array([0. , 0.5], dtype=float32)
    """
    if not margin > 0:
        raise ValueError(
            f"margin: expected more than 0, got {margin} (without one, equal scores "
            "would do; the paper uses 0.1)"
        )
    lead = precision.upcast(positive) - precision.upcast(negative)
    return jnp.maximum(margin - lead, 0)


@shaped
def time_preferences(
    scores: Float[Array, "S"],
    time_scores: Float[Array, "3"],
    query_time: Int[Array, ""],
) -> Float[Array, "S S"]:
    r"""Compares every memory with every other, by scores and by write times.

    .. math:: s_{ij} = e_i - e_j + \tau \cdot
        ([x < i], [x < j], [i < j])

    Memory i is preferred to j where s_ij > 0. The three features say whether the query
    is older than i, whether it is older than j, and whether i is older than j. The
    paper writes s_ij as s_Ot(x, m_i, m_j), with e_i = Phi_x(x)' U' U Phi_y(m_i).

    A question is newer than every memory: its time is S. After a hop the query is
    "[x, m_o1]", whose time the paper leaves open; this library takes that of the memory
    found last, without which "before" could not be learned.

    Source: Weston, Chopra & Bordes 2014 (arXiv:1410.3916), eq. 7.

    Args:
      scores: e, how well each memory matches the query, shape [S].
      time_scores: tau, how well each feature of time matches the query, shape [3].
      query_time: x, when the query was written, shape [].

    Returns:
      s, shape [S, S], in the promoted dtype of scores and time scores.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if scores are not floating-point, or the time is no integer.

    Example:
      >>> newer_wins = jnp.array([0.0, 0.0, -1.0])
      >>> time_preferences(jnp.zeros(2), newer_wins, jnp.array(2)).tolist()
      [[0.0, -1.0], [0.0, 0.0]]
    """
    S = scores.shape[0]
    dtype = precision.promoted(scores, time_scores)
    scores, tau = scores.astype(dtype), time_scores.astype(dtype)
    at = jnp.arange(S, dtype=query_time.dtype)
    newer = (query_time < at).astype(dtype)  # [S]
    older = (at[:, None] < at[None, :]).astype(dtype)  # [S] -> [S, S]
    one, other = scores + tau[0] * newer, tau[1] * newer - scores
    return one[:, None] + other[None, :] + tau[2] * older  # [S] -> [S, S]


@shaped
def sequential_hardmax(
    scores: Float[Array, "S"],
    mask: Bool[Array, "S"] | None = None,
    *,
    time_scores: Float[Array, "3"],
    query_time: Int[Array, ""],
) -> Float[Array, "S"]:
    """Puts all weight on the winner of comparisons in the order of writing.

    Each memory in turn, the oldest first, is compared with the winner so far, which
    stays if s_Ot(x, winner, memory) is at least 0. The winner is always the older of
    the two, so the third feature tells how much newer facts are favoured. With
    `time_scores` of 0 it is `hardmax`. Preferences need not be transitive, so the order
    is part of the definition. Bind the time with `functools.partial`, and it is a
    weighting like any other; its gradient is 0.

    Source: Weston, Chopra & Bordes 2014 (arXiv:1410.3916), section 3.4 and its
    appendix's algorithm O_t.

    Args:
      scores: how well each memory matches the query, shape [S].
      mask: True = attend, shape [S]; None attends everywhere.
      time_scores: as of `time_preferences`.
      query_time: as of `time_preferences`.

    Returns:
      Weights in {0, 1}, shape [S]; they sum to 1, or are 0 where nothing is attended
      to.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if `mask` is not boolean.

    Example:
      >>> older_loses = jnp.array([0.0, 0.0, -1.0])
      >>> options = {"time_scores": older_loses, "query_time": jnp.array(3)}
      >>> sequential_hardmax(jnp.array([0.5, 0.2, -3.0]), **options)
      Array([0., 1., 0.], dtype=float32)
    """
    S = scores.shape[0]
    if S == 0:
        return scores
    mask = jnp.ones(S, bool) if mask is None else mask
    stays = time_preferences(scores, time_scores, query_time) >= 0
    first = jnp.argmax(mask)

    def compare(winner: Array, at: Array) -> tuple[Array, Any]:
        return jnp.where(mask[at] & ~stays[winner, at], at, winner), None

    every = jnp.arange(S, dtype=first.dtype)
    (first, every) = precision.same_devices((first, every))
    winner, _ = lax.scan(compare, first, every)
    chosen = jax.nn.one_hot(winner, S, dtype=scores.dtype)
    return jnp.where(mask, chosen, 0)
