"""Attention to the most recent positions, whose keys and values know their age."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnjax.core import context, scores, weights
from attnjax.core._checks import shaped
from attnjax.core.attend import Attended, Weighting


class RecentMemory(NamedTuple):
    """Positions of a sequence, and what is added to each by its age.

    Of S = N - 1 + T positions the last T have a query each. A query attends to its own
    position, of age 0, and to the N - 1 before it.
    """

    keys: Float[Array, "S D"]
    values: Float[Array, "S E"]
    mask: Bool[Array, "S"]
    age_keys: Float[Array, "N D"]
    age_values: Float[Array, "N E"]


@shaped
def attend_recent(
    queries: Float[Array, "T D"],
    memory: RecentMemory,
    *,
    weighting: Weighting = weights.masked_softmax,
) -> Attended:
    r"""Attends to the last N positions; keys and values depend on the age too.

    .. math:: e_{ta} = q_t^\top (k_{t-a} + \tau_a), \qquad
        c_t = \sum_a p_{ta} (h_{t-a} + \upsilon_a)

    with p the weights of e over the ages a = 0 .. N - 1. Neither [T, N, D] keys nor
    values are made: both sums are products of matrices, one by position, one by age.

    Source: the temporal encoding of Sukhbaatar et al. 2015 (arXiv:1503.08895), section
    4.1; in Transformers, the relative positions of Shaw, Uszkoreit & Vaswani 2018
    (arXiv:1803.02155), eqs. 3 and 4.

    Args:
      queries: q, shape [T, D], of the last T positions.
      memory: k [N-1+T, D], h [N-1+T, E], their mask, tau [N, D] and upsilon [N, E].
      weighting: maps scores and mask to weights [N].

    Returns:
      Contexts [T, E], and weights [T, N] by age; 0 where nothing is attended to.

    Raises:
      ValueError: if shapes disagree.

    Example:
      >>> x = jnp.array([[1.0], [2.0], [3.0]])
      >>> ages = jnp.zeros((2, 1))
      >>> memory = RecentMemory(x, x, jnp.ones(3, bool), ages, ages)
      >>> attend_recent(jnp.zeros((2, 1)), memory).context.tolist()
      [[1.5], [2.5]]
    """
    T, N = len(queries), len(memory.age_keys)
    if len(memory.keys) != N - 1 + T:
        raise ValueError(
            f"memory.keys: expected {N - 1 + T} positions, got {len(memory.keys)} (the "
            f"{N - 1} before the first query, and one for each of {T} queries)"
        )
    score = jax.vmap(scores.dot, in_axes=(0, None))
    scored = by_age(score(queries, memory.keys), N) + score(queries, memory.age_keys)
    mask = by_age(jnp.broadcast_to(memory.mask, (T, len(memory.mask))), N)
    normalised = jax.vmap(weighting)(scored, mask).astype(queries.dtype)
    read = jax.vmap(context.read, in_axes=(0, None))
    found = read(by_position(normalised), memory.values)
    return Attended(found + read(normalised, memory.age_values), normalised)


def by_age(x: Float[Array, "T S"], ages: int) -> Float[Array, "T {ages}"]:
    """Reads along each row the entries of its last positions, the newest first.

    Example:
      >>> by_age(jnp.arange(6).reshape(2, 3), 2).tolist()
      [[1, 0], [5, 4]]
    """
    T, S = x.shape
    flat = jnp.pad(x.reshape(T * S), (0, T))  # [T, S] -> [T*S + T]
    # A row longer, each row begins one position later: [T*S + T] -> [T, S + 1]
    return flat.reshape(T, S + 1)[:, :ages][:, ::-1]


def by_position(x: Float[Array, "T N"]) -> Float[Array, "T S"]:
    """Undoes `by_age`: puts entries by age where they belong, 0 elsewhere.

    Example:
      >>> by_position(jnp.array([[1, 2], [3, 4]])).tolist()
      [[2, 1, 0], [0, 4, 3]]
    """
    T, N = x.shape
    S = N - 1 + T
    wide = jnp.pad(x[:, ::-1], ((0, 0), (0, S + 1 - N)))  # [T, N] -> [T, S + 1]
    flat = wide.reshape(T * (S + 1))  # [T, S + 1] -> [T*S + T]
    return flat[: T * S].reshape(T, S)  # [T*S] -> [T, S]
