"""The hop of a memory network: attend, then add what was read to the query."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float

from attnjax.core import precision, scores, weights
from attnjax.core._checks import shaped
from attnjax.core.attend import Attended, Memory, Weighting, attend


class HopParams(NamedTuple):
    """Parameters of a hop; most have none."""

    w_query: Float[Array, "D D"] | None = None  # H; None: the identity


@shaped
def hop(
    params: HopParams,
    query: Float[Array, "D"],
    *,
    memory: Memory,
    weighting: Weighting = weights.masked_softmax,
    activation: Callable[[Array], Array] | None = None,
) -> tuple[Float[Array, "D"], Attended]:
    r"""Reads a memory, and adds what was read to the query.

    .. math:: p_i = \mathrm{weighting}(u^\top m_i), \qquad o = \sum_i p_i c_i, \qquad
        u' = f(u H + o)

    The weighting is what tells memory networks apart: softmax in end-to-end ones,
    `unnormalised` in their linear start, `hardmax` or `sequential_hardmax` in those
    that are trained on supporting facts. There, c_i is the memory embedded as a fact
    already found, so that u' is the embedding of "[x, m_o1]".

    Source: Sukhbaatar et al. 2015 (arXiv:1503.08895), eqs. 1 and 2 and section 2.2;
    hard selection: Weston, Chopra & Bordes 2014 (arXiv:1410.3916), eqs. 2 and 3.

    Args:
      params: H, if any, which multiplies a row from the right.
      query: u, shape [D].
      memory: keys m [S, D], values c [S, D] and mask [S].
      weighting: maps scores and mask to weights [S].
      activation: f; None is the identity.

    Returns:
      The next query, shape [D], and what was read with which weights. With nothing to
      attend to, the query is only mapped.

    Raises:
      ValueError: if shapes disagree.

    Example:
      >>> facts = jnp.eye(2) * 9
      >>> memory = Memory(facts, facts, jnp.ones(2, bool))
      >>> query, read = hop(HopParams(), jnp.array([1.0, 0.0]), memory=memory)
      >>> read.weights.round(2).tolist(), query.round(2).tolist()
      ([1.0, 0.0], [10.0, 0.0])
    """
    read = attend(
        query,
        memory.keys,
        memory.values,
        mask=memory.mask,
        score=scores.dot,
        weighting=weighting,
    )
    if params.w_query is not None:
        query = precision.matmul(query, params.w_query)
    query = query + read.context
    return (query if activation is None else activation(query)), read
