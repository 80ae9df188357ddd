"""Beam search: extends the K best unfinished hypotheses of each row together.

At every position the K best extensions are kept. Those that end in EOS join the
finished hypotheses, the others stay in the beam. A row stops as soon as no unfinished
hypothesis can enter its list of finished ones. This early stopping is exact: searching
to the maximum length would give the same list.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.core._checks import broadcasting, static_int
from attnjax.decode.constraints import SpecialTokens, TokenConstraints
from attnjax.decode.contract import Hypotheses, Step, log_normaliser
from attnjax.decode.finished import (
    Finished,
    History,
    backtrace,
    empty_finished,
    empty_history,
    gather_beams,
    merge_finished,
)
from attnjax.decode.penalties import Penalties, check_penalties
from attnjax.decode.selection import top_k
from attnjax.decode.setup import (
    ConstraintArguments,
    DecodeSetup,
    LengthArguments,
    set_up,
)


@broadcasting
def beam_search(
    step: Step,
    carry: Any,
    *,
    batch_size: int,
    beam_size: int,
    max_length: int | Int[Array, "B"],
    bos: int,
    eos: int,
    pad: int = 0,
    max_decode_length: int | None = None,
    min_length: int = 0,
    suppress_tokens: Sequence[int] = (),
    no_repeat_ngram_size: int = 0,
    prefix: Int[Array, "B P"] | None = None,
    prefix_lengths: Int[Array, "B"] | None = None,
    length_penalty: float | Float[Array, ""] = 0.0,
    coverage_penalty: float | Float[Array, ""] = 0.0,
    source_mask: Bool[Array, "B S"] | None = None,
    n_best: int | None = None,
) -> Hypotheses:
    """Searches for the hypotheses with the highest score.

    .. math:: s(y) = \\log p(y) / \\left(\\frac{5 + |y|}{6}\\right)^\\alpha
              + \\beta \\sum_j \\log \\min(\\sum_i a_{ij}, 1)

    with |y| the number of tokens, including EOS, and a_ij the attention weight of
    source position j when token i is decoded. Scores rank finished hypotheses; the beam
    itself keeps the extensions with the highest log p. `jax.vmap` maps `step` over the
    beam, so arrays that it closes over, such as the encoder memory, are not copied for
    each hypothesis. Wrap the caller in `jax.jit`: an eager call compiles every time.

    Source: Wu et al. 2016 (arXiv:1609.08144), eq. 14.

    Args:
      step, carry, batch_size, bos, eos, pad, max_decode_length, min_length,
        suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths: as in `greedy`.
      beam_size: K, hypotheses kept for each row; 1 is greedy search.
      max_length: as in `greedy`. With a length penalty a tight limit lets rows stop
        sooner, because it bounds the score of unfinished hypotheses.
      length_penalty: alpha, at least 0; 0 ranks by log-probability, and larger values
        favour longer hypotheses.
      coverage_penalty: beta, at least 0; larger values favour hypotheses that attend
        to all of the source. The coverage of a position is at least the smallest normal
        number, so that its logarithm stays finite.
      source_mask: True = a source position, False = padding, which need not be
        covered; required with a coverage penalty.
      n_best: how many to return, at most `beam_size`, the default. The first n
        are the same for any choice; a smaller one lets rows stop sooner.

    Returns:
      Hypotheses, K = `n_best` for each row.

    Raises:
      ValueError: if a length, an id, a size or an output of `step` is invalid.
      TypeError: if a static argument is not an int, or an array has the wrong dtype.

    Example:
      >>> table = jnp.log(jnp.array([[0, 0, 1, 9], [0, 0, 2, 8], [0, 0, 1, 0],
      ...                            [0, 0, 7, 3]]) / 10)
      >>> step = lambda carry, token: (carry, table[token], jnp.zeros((1, 1)))
      >>> found = beam_search(step, (), batch_size=1, beam_size=2, max_length=4, bos=1,
      ...                     eos=2)
      >>> found.tokens[0]
      Array([[3, 2, 0, 0],
             [2, 0, 0, 0]], dtype=int32)
    """
    setup = set_up(
        step,
        carry,
        batch_size,
        SpecialTokens(bos, eos, pad),
        LengthArguments(max_length, max_decode_length, min_length),
        ConstraintArguments(
            suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths
        ),
    )
    K = static_int("beam_size", beam_size, 1, setup.vocab_size, "the vocabulary")
    N = K if n_best is None else static_int("n_best", n_best, 1, K, "beam_size")
    penalties = check_penalties(setup, length_penalty, coverage_penalty, source_mask)
    state = _initial_state(carry, setup, penalties, K, N)
    state = _search(step, state, setup, penalties)
    return backtrace(state.finished, state.history, setup.constraints.tokens)


class _State(NamedTuple):
    t: Int[Array, ""]
    carry: Any  # leaves [K, B, ...]: `jax.vmap` maps over the beam first
    tokens: Int[Array, "B K"]
    log_probs: Float[Array, "B K"]  # -inf in an empty beam slot
    generated: Int[Array, "B K T"] | None  # tokens so far; only to find repeats
    coverage: Float[Array, "B K S"] | None  # sum of weights; only for its penalty
    finished: Finished
    history: History


def _initial_state(
    carry: Any, setup: DecodeSetup, penalties: Penalties, K: int, N: int
) -> _State:
    """Returns the state before the first position: one empty hypothesis per row."""
    (B, S), T = setup.weights.shape, setup.max_decode_length
    constraints = setup.constraints
    # Slots 1 to K - 1 start empty, or the first step would extend K equal hypotheses.
    first = jnp.where(jnp.arange(K) == 0, 0, -jnp.inf).astype(setup.dtype)

    def repeat(x: Any) -> Array:
        return jnp.repeat(jnp.asarray(x)[None], K, axis=0)  # [B, ...] -> [K, B, ...]

    track_tokens = constraints.no_repeat_ngram_size > 0
    track_coverage = penalties.beta is not None
    return _State(
        t=jnp.zeros((), jnp.int32),
        carry=jax.tree.map(repeat, carry),
        tokens=jnp.full((B, K), constraints.tokens.bos, jnp.int32),
        log_probs=jnp.where(constraints.max_lengths[:, None] > 0, first, -jnp.inf),
        generated=jnp.zeros((B, K, T), jnp.int32) if track_tokens else None,
        coverage=jnp.zeros((B, K, S), setup.weights.dtype) if track_coverage else None,
        finished=empty_finished(setup, N),
        history=empty_history(setup, K),
    )


def _search(
    step: Step, state: _State, setup: DecodeSetup, penalties: Penalties
) -> _State:
    """Extends the beam until no hypothesis in it can enter any row's finished list."""
    # Log p and coverage never rise, and the length penalty never falls with length:
    # log p / (penalty at the maximum length) bounds every score still to come.
    max_penalty = penalties.length_penalty(setup.constraints.max_lengths)[:, None]

    def advance(state: _State) -> _State:
        state = _advance(jax.vmap(step), state, setup, penalties)
        can_enter = state.log_probs / max_penalty > state.finished.scores[:, -1:]
        return state._replace(log_probs=jnp.where(can_enter, state.log_probs, -jnp.inf))

    def unfinished(state: _State) -> Array:
        has_hypotheses = jnp.any(state.log_probs > -jnp.inf)
        return has_hypotheses & (state.t < setup.max_decode_length)

    return lax.while_loop(unfinished, advance, state)


def _advance(
    beam_step: Step, state: _State, setup: DecodeSetup, penalties: Penalties
) -> _State:
    """Extends the beam by one position, and moves hypotheses that end out of it."""
    carry, logits, weights = beam_step(state.carry, state.tokens.T)
    weights = weights.swapaxes(0, 1)  # [K, B, S] -> [B, K, S]
    weights = weights.astype(setup.weights.dtype)
    tokens, back_pointers, log_probs = _extend(
        logits.astype(setup.dtype), state, setup.constraints
    )
    # None is an empty pytree: an option that is off adds no operation.
    coverage = jax.tree.map(lambda x: x + weights, state.coverage)
    generated, coverage = jax.tree.map(
        lambda x: gather_beams(x, back_pointers), (state.generated, coverage)
    )
    t, ended = state.t, tokens == setup.constraints.tokens.eos
    finished = _finish(ended, log_probs, back_pointers, t + 1, coverage, penalties)
    record = History(tokens, back_pointers, weights)
    return _State(
        t=t + 1,
        carry=jax.tree.map(lambda x: gather_beams(x, back_pointers.T, axis=0), carry),
        tokens=tokens,
        log_probs=jnp.where(ended, -jnp.inf, log_probs),
        generated=jax.tree.map(lambda x: x.at[:, :, t].set(tokens), generated),
        coverage=coverage,
        finished=merge_finished(state.finished, finished),
        history=jax.tree.map(lambda x, new: x.at[t].set(new), state.history, record),
    )


def _extend(
    logits: Float[Array, "K B V"], state: _State, constraints: TokenConstraints
) -> tuple[Array, Array, Array]:
    """Returns tokens, back-pointers and log-probabilities of the K best extensions."""
    K, B, _ = logits.shape
    masked = jax.vmap(constraints.mask_logits, in_axes=(0, None, 1))(
        logits, state.t, state.generated
    )
    # The K best of all extensions are among the K best of each hypothesis, so two small
    # top-k replace one over K * V.
    values, ids = top_k(masked, K)
    gains = values - log_normaliser(logits)[..., None]
    gains = gains.swapaxes(0, 1)  # [K, B, K] -> [B, K, K]
    totals = state.log_probs[..., None] + gains
    totals, i = lax.top_k(totals.reshape(B, K * K), K)  # [B, K, K] -> [B, K * K]
    ids = ids.swapaxes(0, 1).reshape(B, K * K)  # [K, B, K] -> [B, K * K]
    return gather_beams(ids, i), i // K, totals


def _finish(
    ended: Bool[Array, "B K"],
    log_probs: Float[Array, "B K"],
    back_pointers: Int[Array, "B K"],
    length: Int[Array, ""],
    coverage: Float[Array, "B K S"] | None,
    penalties: Penalties,
) -> Finished:
    """Returns the hypotheses of a beam that end now; -inf marks the other slots."""
    log_probs = jnp.where(ended, log_probs, -jnp.inf)
    return Finished(
        scores=penalties.scores(log_probs, length, coverage),
        log_probs=log_probs,
        lengths=jnp.where(log_probs > -jnp.inf, length, 0),
        back_pointers=back_pointers,
    )
