"""A cursor that is marginalised: where it may be, and what is emitted there.

Attention reads an average of the source; here each source position predicts the next
token by itself, and the predictions are averaged by the probability that the cursor is
there. So a translation's likelihood is a sum over all paths of the cursor, which
`attnjax.core.lattice` computes exactly.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnjax.core import precision
from attnjax.core._checks import shaped
from attnjax.core.lattice import (
    hmm_filter,
    hmm_predict,
    hmm_update,
    jump_log_probs,
    start_log_probs,
)

# Of either half of the logits. Exponentials of up to twice as much are finite in
# float32 and not 0, so sums over the vocabulary are plain matrix products.
LOGIT_CAP = 20.0


class CursorParams(NamedTuple):
    """Parameters of the moves."""

    w_query: Float[Array, "D A"]  # of the decoder state, to be matched with the keys
    jumps: Float[Array, "J"]  # scores of the jumps lowest, lowest + 1, ...


class CursorMemory(NamedTuple):
    """What the cursor moves over."""

    keys: Float[Array, "... S A"]  # matched with the decoder state: where to move
    factors: Float[Array, "... S V"]  # exponentials of each position's logits
    mask: Bool[Array, "... S"]
    hidden: Float[Array, "... LD"]  # what the decoder begins with, layer by layer


class CursorState(NamedTuple):
    """The carry of a cursor."""

    position: Int[Array, ""]  # of the target, counted from 0
    beliefs: Float[Array, "S"]  # log of the prior over the normaliser of each position


class TaughtCursor(NamedTuple):
    """What a known target makes of one source."""

    memory: CursorMemory
    scores: Float[Array, "T S"]  # of positions to move to
    logits: Float[Array, "T V"]  # the decoder's half


class CursorOutput(NamedTuple):
    """What a cursor predicts at one target position."""

    log_probs: Float[Array, "V"]  # of the next token
    weights: Float[Array, "S"]  # the prior of the cursor: p(a_t | y_<t)


@shaped
def marginal_cursor(
    params: CursorParams,
    carry: CursorState,
    token: Int[Array, ""],
    hidden: Float[Array, "D"],
    logits: Float[Array, "V"],
    *,
    memory: CursorMemory,
    lowest: int,
    clip: bool,
) -> tuple[CursorState, CursorOutput]:
    r"""Sees a token, moves, and predicts the next one.

    .. math::
        p(a_t \mid y_{<t}) = \sum_{s'} p(a_{t-1} = s' \mid y_{<t})\, p(a_t \mid s'), \\
        p(y_t \mid y_{<t}) = \sum_s p(a_t = s \mid y_{<t})\, p(y_t \mid s, h_t)

    Source: Wu & Cotterell 2019 (arXiv:1905.06319), section 3; the joint of decoder and
    source logits: Graves 2012 (arXiv:1211.3711), eqs. 12 to 15.

    Args:
      params: parameters of the moves.
      carry: the cursor before the token was seen.
      token: y_{t-1}; ignored at position 0, where it is none of the target's, shape [].
      hidden: h_t, the decoder state that has seen the tokens up to y_{t-1}, shape [D].
      logits: the decoder's half of the logits, shape [V].
      memory: keys and factors of one source.
      lowest: as of `jump_log_probs`.
      clip: as of `jump_log_probs`.

    Returns:
      The carry, and the prediction.

    Raises:
      ValueError: if a shape disagrees with the letters above.
    """
    content = move_scores(params, hidden, memory)
    jumps = params.jumps.astype(content.dtype), memory.mask
    how: dict[str, Any] = {"lowest": lowest, "clip": clip, "content": content}
    emission = jnp.log(memory.factors[:, token])  # up to a constant, which cancels
    posterior, _ = hmm_update(carry.beliefs, emission)
    prior = hmm_predict(posterior, jump_log_probs(*jumps, **how))
    first = start_log_probs(*jumps, **how)
    prior = jnp.where(carry.position == 0, first, prior)
    log_probs, normaliser = mixture(prior, logits, memory)
    return (
        CursorState(carry.position + 1, prior - normaliser),
        CursorOutput(log_probs, jnp.exp(prior)),
    )


def move_scores(
    params: CursorParams, hidden: Float[Array, "... D"], memory: CursorMemory
) -> Float[Array, "... S"]:
    """Scores positions to move to by a scaled dot product of query and keys."""
    query = precision.matmul(hidden, params.w_query)
    scores = precision.matmul(query, memory.keys.T, upcast_result=True)
    return scores * query.shape[-1] ** -0.5


@shaped
def mixture(
    prior: Float[Array, "S"], logits: Float[Array, "V"], memory: CursorMemory
) -> tuple[Float[Array, "V"], Float[Array, "S"]]:
    """Averages what the positions predict, by the prior of the cursor.

    Args:
      prior: log-probability of each position, shape [S].
      logits: the decoder's half of the logits, shape [V].
      memory: factors [S, V], the other half, and mask [S].

    Returns:
      Log-probabilities of tokens [V], and each position's log-normaliser [S]. Without a
      source position the decoder predicts alone.
    """
    normaliser = log_normaliser(logits, memory)
    share = jnp.exp(prior - normaliser)
    total = precision.matmul(share, memory.factors)  # [S] @ [S, V] -> [V]
    alone = jnp.ones_like(total) / jnp.sum(jnp.exp(logits))
    total = jnp.where(jnp.any(memory.mask), total, alone)
    return logits + jnp.log(total), normaliser


def log_normaliser(logits: Array, memory: CursorMemory) -> Array:
    """The logarithm of each position's sum over tokens: [..., V] -> [..., S]."""
    return jnp.log(precision.matmul(jnp.exp(logits), memory.factors.T))


def chain(
    params: CursorParams,
    taught: TaughtCursor,
    tokens: Int[Array, "T"],
    *,
    lowest: int,
    clip: bool,
) -> tuple[Float[Array, "S"], Float[Array, "R S S"], Float[Array, "T S"]]:
    """Makes the arguments of `hmm_log_likelihood` for known tokens.

    Args:
      params: parameters of the moves.
      taught: of the same target; T is at least 1.
      tokens: y, shape [T].
      lowest: as of `jump_log_probs`.
      clip: as of `jump_log_probs`.

    Returns:
      Log-probabilities of the first position [S], of each move [T - 1, S, S], and of
      each token at each position [T, S].
    """
    memory, scores, logits = taught
    jumps = params.jumps.astype(scores.dtype), memory.mask
    how: dict[str, Any] = {"lowest": lowest, "clip": clip}
    first = start_log_probs(*jumps, **how, content=scores[0])
    moves = jax.vmap(lambda row: jump_log_probs(*jumps, **how, content=row))(scores[1:])
    normaliser = log_normaliser(logits, memory)  # [T, S]
    of_decoder = jnp.take_along_axis(logits, tokens[:, None], axis=1)  # [T, 1]
    of_source = jnp.log(memory.factors[:, tokens]).T  # [S, T] -> [T, S]
    return first, moves, of_decoder + of_source - normaliser


def teacher_forced(
    params: CursorParams,
    taught: TaughtCursor,
    tokens: Int[Array, "T"],
    *,
    lowest: int,
    clip: bool,
) -> CursorOutput:
    """Computes what `marginal_cursor` gives at each step of a known target.

    Args:
      params: parameters of the moves.
      taught: of the same target; T is at least 1.
      tokens: y, shape [T]; the last one changes nothing.
      lowest: as of `jump_log_probs`.
      clip: as of `jump_log_probs`.

    Returns:
      Log-probabilities [T, V] and weights [T, S].
    """
    prior = hmm_filter(*chain(params, taught, tokens, lowest=lowest, clip=clip)).prior
    mix = jax.vmap(partial(mixture, memory=taught.memory))
    log_probs, _ = mix(prior, taught.logits)
    return CursorOutput(log_probs, jnp.exp(prior))


def cap_logits(logits: Array) -> Array:
    """Bounds logits smoothly to (-LOGIT_CAP, LOGIT_CAP)."""
    return LOGIT_CAP * jnp.tanh(logits / LOGIT_CAP)
