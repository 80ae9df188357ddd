"""A cursor over source positions: alignment as a hidden Markov chain, marginalised.

At each target step the cursor moves from one source position to another and emits the
target token. What it emits, and where it moves, are given as log-probabilities; all
alignments are summed over. `jump_transitions` makes the moves: first-order alignment
(any jump), hard monotonic alignment (the cursor stays or moves on), or the diagonal.

One target is `emissions` [T, S]; a batch is `jax.vmap`, with padding behind `num_steps`
and emissions of -inf at padded source positions. All compute in at least float32. Time
is T steps of [S, S], memory that of the arguments.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.core._checks import shaped
from attnjax.core.lattice import _hmm
from attnjax.core.lattice._counts import Count, or_nan
from attnjax.core.lattice._semiring import finite, log_sum, xlogx


class HMMFilter(NamedTuple):
    """What is known of the cursor at each target step from the steps up to it."""

    predictive: Float[Array, "... T"]  # log p(y_t | y_<t); 0 in padding
    prior: Float[Array, "... T S"]  # log p(s_t | y_<t)
    posterior: Float[Array, "... T S"]  # log p(s_t | y_<=t)


@shaped
def hmm_log_likelihood(
    initial: Float[Array, "S"],
    transitions: Float[Array, "... S S"],
    emissions: Float[Array, "T S"],
    *,
    num_steps: Count = None,
) -> Float[Array, ""]:
    r"""Sums the probabilities of all paths of the cursor.

    .. math:: p(y) = \sum_{a} \prod_t p(a_t \mid a_{t-1})\, p(y_t \mid a_t)

    Its gradient is the posterior: of the first position, of each pair of positions, of
    the position at each step. So the gradient of `transitions` counts moves. First
    derivatives are as of `transducer_log_likelihood`.

    Source: Vogel, Ney & Tillmann 1996 (COLING), eqs. 3 and 4; in neural models Wu,
    Shapiro & Cotterell 2018 (arXiv:1808.10024) and Wu & Cotterell 2019
    (arXiv:1905.06319).

    Args:
      initial: log-probability of each first position, shape [S].
      transitions: log-probability of each move, from axis -2 to axis -1, shape [S, S],
        or [T - 1, S, S], where entry t leads to step t + 1.
      emissions: log-probability of each step's token at each position, shape [T, S].
      num_steps: steps that are real, at most T; None means all. Padding may hold
        anything, and has gradient 0.

    Returns:
      The log-likelihood, shape []; 0 without steps, -inf without a path; NaN if a
      number of steps that is not known while a program is traced is out of range.

    Raises:
      ValueError: if shapes disagree, or a known number of steps is out of range.
      TypeError: if an array is not floating-point, or the number no integer.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> emissions = jnp.log(jnp.array([[0.1, 0.3], [0.2, 0.2], [0.5, 0.1]]))
      >>> jnp.exp(hmm_log_likelihood(half[0], half, emissions)).round(3)  # .2 * .2 * .3
      Array(0.012, dtype=float32)
    """
    chain, real, valid = _hmm.prepare(initial, transitions, emissions, num_steps)
    if not len(emissions):
        return jnp.zeros((), chain.emissions.dtype)
    return or_nan(valid, _hmm.log_likelihood(chain, real))


@shaped
def hmm_posteriors(
    initial: Float[Array, "S"],
    transitions: Float[Array, "... S S"],
    emissions: Float[Array, "T S"],
    *,
    num_steps: Count = None,
) -> Float[Array, "T S"]:
    r"""Computes the expected alignment: the posterior of each position at each step.

    .. math:: w_{ts} = p(a_t = s \mid y)
        = \frac{\alpha_t(s)\, \beta_t(s)}{\sum_{s'} \alpha_t(s')\, \beta_t(s')}

    Source: Baum & Petrie 1966; Rabiner 1989, eq. 27.

    Args:
      initial: as of `hmm_log_likelihood`.
      transitions: as of `hmm_log_likelihood`.
      emissions: as of `hmm_log_likelihood`.
      num_steps: as of `hmm_log_likelihood`.

    Returns:
      Weights [T, S], differentiable; a row sums to 1, or to 0 in padding and without
      a path.

    Raises:
      ValueError: as `hmm_log_likelihood`.
      TypeError: as `hmm_log_likelihood`.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> hmm_posteriors(half[0], half, jnp.log(jnp.array([[0.2, 0.3]]))).round(3)
      Array([[0.4, 0.6]], dtype=float32)
    """
    chain, real, valid = _hmm.prepare(initial, transitions, emissions, num_steps)
    if not len(emissions):
        return chain.emissions
    found = _hmm.filter_steps(chain, real)
    return or_nan(valid, _hmm.smooth(chain, real, found.posterior).emissions)


@shaped
def hmm_filter(
    initial: Float[Array, "S"],
    transitions: Float[Array, "... S S"],
    emissions: Float[Array, "T S"],
    *,
    num_steps: Count = None,
) -> HMMFilter:
    r"""Computes what is known of the cursor from the steps so far.

    .. math:: p(y_t \mid y_{<t}) = \sum_s p(a_t = s \mid y_{<t})\, p(y_t \mid a_t = s)

    The sum of `predictive` is the log-likelihood. It is `hmm_predict` and `hmm_update`
    in turn, which decoding calls step by step.

    Source: Rabiner 1989, section III.A (the scaled forward recursion).

    Args:
      initial: as of `hmm_log_likelihood`.
      transitions: as of `hmm_log_likelihood`.
      emissions: as of `hmm_log_likelihood`.
      num_steps: as of `hmm_log_likelihood`.

    Returns:
      Log-probabilities at each step.

    Raises:
      ValueError: as `hmm_log_likelihood`.
      TypeError: as `hmm_log_likelihood`.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> found = hmm_filter(half[0], half, jnp.log(jnp.array([[0.1, 0.3]])))
      >>> jnp.exp(found.predictive).round(3)
      Array([0.2], dtype=float32)
    """
    chain, real, valid = _hmm.prepare(initial, transitions, emissions, num_steps)
    if not len(emissions):
        none = chain.emissions
        return HMMFilter(none.sum(axis=1), none, none)
    found = HMMFilter(*_hmm.filter_steps(chain, real))
    return jax.tree.map(lambda x: or_nan(valid, x), found)


@shaped
def hmm_predict(
    posterior: Float[Array, "S"], transitions: Float[Array, "S S"]
) -> Float[Array, "S"]:
    """Moves the cursor: log p(a_t | y_<t) from log p(a_{t-1} | y_<t).

    Args:
      posterior: log-probabilities of the last step's position, shape [S].
      transitions: log-probability of each move, shape [S, S].

    Returns:
      Log-probabilities of the next step's position, shape [S], in at least float32.

    Raises:
      ValueError: if shapes disagree.
      TypeError: if an array is not floating-point.

    Example:
      >>> on = jnp.log(jnp.array([[0.0, 1.0], [0.0, 1.0]]))
      >>> jnp.exp(hmm_predict(jnp.log(jnp.array([1.0, 0.0])), on))
      Array([0., 1.], dtype=float32)
    """
    posterior, transitions = _hmm.upcast_together(posterior, transitions)
    return log_sum(posterior[:, None] + transitions, axis=0)  # [S, 1] + [S, S] -> [S]


@shaped
def hmm_update(
    prior: Float[Array, "S"], emission: Float[Array, "S"]
) -> tuple[Float[Array, "S"], Float[Array, ""]]:
    """Sees one token: log p(a_t | y_<=t) from log p(a_t | y_<t).

    Args:
      prior: log-probabilities of this step's position, shape [S].
      emission: log-probability of the token at each position, shape [S].

    Returns:
      The posterior [S] and the predictive log-probability of the token [], in at least
      float32; all -inf where the token cannot be emitted.

    Raises:
      ValueError: if shapes disagree.
      TypeError: if an array is not floating-point.

    Example:
      >>> half = jnp.log(jnp.full(2, 0.5))
      >>> posterior, predictive = hmm_update(half, jnp.log(jnp.array([0.2, 0.3])))
      >>> jnp.exp(posterior).round(3), jnp.exp(predictive).round(3)
      (Array([0.4, 0.6], dtype=float32), Array(0.25, dtype=float32))
    """
    prior, emission = _hmm.upcast_together(prior, emission)
    joint = prior + emission
    total = log_sum(joint)
    return joint - finite(total), total


@shaped
def hmm_entropy(
    initial: Float[Array, "S"],
    transitions: Float[Array, "... S S"],
    emissions: Float[Array, "T S"],
    *,
    num_steps: Count = None,
) -> Float[Array, ""]:
    r"""Computes the entropy of the paths, given what they emit, in nats.

    .. math:: H = H(a_1 \mid y) + \sum_{t > 1} H(a_t \mid a_{t-1}, y)

    Args:
      initial: as of `hmm_log_likelihood`.
      transitions: as of `hmm_log_likelihood`.
      emissions: as of `hmm_log_likelihood`.
      num_steps: as of `hmm_log_likelihood`.

    Returns:
      Nats, shape []; 0 if one path has all probability, or there is none. Memory is
      O(T S^2).

    Raises:
      ValueError: as `hmm_log_likelihood`.
      TypeError: as `hmm_log_likelihood`.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> hmm_entropy(half[0], half, jnp.zeros((3, 2))).round(4)  # log 8
      Array(2.0794, dtype=float32)
    """
    chain, real, valid = _hmm.prepare(initial, transitions, emissions, num_steps)
    if not len(emissions):
        return jnp.zeros((), chain.emissions.dtype)
    T, S = emissions.shape
    each_step = jnp.broadcast_to(chain.transitions, (T - 1, S, S))
    chain = chain._replace(transitions=each_step)
    found = _hmm.smooth(chain, real, _hmm.filter_steps(chain, real).posterior)
    pairs = jnp.sum(xlogx(found.transitions))
    left = jnp.sum(xlogx(jnp.sum(found.transitions, axis=2)))
    return or_nan(valid, left - pairs - jnp.sum(xlogx(found.initial)))
