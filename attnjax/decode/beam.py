"""Beam search: the K best prefixes of each row, extended together.

At every position the K best extensions of the live prefixes are kept. Those that end
in EOS join the finished hypotheses; the others stay in the beam. A row stops when no
live prefix can still enter its list of finished hypotheses. This is exact: searching on
to the maximum length would give the same list.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.decode.arguments import check_int
from attnjax.decode.constraints import (
    Constraints,
    Ids,
    Lengths,
    LogitsProcessor,
    Plan,
    plan,
)
from attnjax.decode.contract import Hypotheses, Step, log_normaliser
from attnjax.decode.finished import (
    Finished,
    History,
    back_trace,
    empty_finished,
    empty_history,
    merge,
    take,
)
from attnjax.decode.ranking import Ranking, ranking
from attnjax.decode.selection import top_k


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
    """Decodes by beam search for the hypotheses of the highest score.

    .. math:: s(y) = \\log p(y) / \\left(\\frac{5 + |y|}{6}\\right)^\\alpha
              + \\beta \\sum_j \\log \\min(\\sum_i a_{ij}, 1)

    with |y| the number of tokens, EOS among them, and a_ij the weight of source
    position j when token i is decoded. Scores rank finished hypotheses; prefixes are
    kept by log p alone. `step` is mapped over the beam (`jax.vmap`), so the memory that
    it closes over is not copied for each hypothesis. Wrap the caller in `jax.jit`: an
    eager call compiles every time.

    Source: Wu et al. 2016 (arXiv:1609.08144), eq. 14.

    Args:
      step, carry, batch_size, bos, eos, pad, max_decode_length, min_length,
        suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths: as in `greedy`.
      beam_size: K, number of prefixes kept for each row; 1 is greedy search.
      max_length: as in `greedy`. With a length penalty, a tight bound lets rows stop
        earlier.
      length_penalty: alpha, at least 0. 0 ranks by log-probability; larger values
        favour longer hypotheses.
      coverage_penalty: beta, at least 0. Larger values favour hypotheses that attend
        to all of the source. A position of weight 0 counts with the smallest normal
        number, so that its logarithm is finite.
      source_mask: True = a source position, False = padding, which need not be
        covered; required with a coverage penalty.
      n_best: number of hypotheses to return, at most `beam_size`, the default. The
        first n are the same for any choice; fewer let rows stop earlier.

    Returns:
      Hypotheses, K = `n_best` for each row.

    Raises:
      ValueError: if a length, an id, a size or what `step` returns does not fit.
      TypeError: if a static argument is no int, or an array has another kind of
        values.

    Example:
      >>> table = jnp.log(jnp.array([[0, 0, 1, 9], [0, 0, 2, 8], [0, 0, 1, 0],
      ...                            [0, 0, 7, 3]]) / 10)
      >>> step = lambda carry, token: (carry, table[token], jnp.zeros((1, 1)))
      >>> ids = {"bos": 1, "eos": 2}
      >>> found = beam_search(step, (), batch_size=1, beam_size=2, max_length=4, **ids)
      >>> found.tokens[0]
      Array([[3, 2, 0, 0],
             [2, 0, 0, 0]], dtype=int32)
    """
    made = plan(
        step,
        carry,
        batch_size,
        Ids(bos, eos, pad),
        Lengths(max_length, max_decode_length, min_length),
        Constraints(suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths),
    )
    K = check_int("beam_size", beam_size, 1, made.vocab_size, "the vocabulary")
    N = K if n_best is None else check_int("n_best", n_best, 1, K, "beam_size")
    order = ranking(made, length_penalty, coverage_penalty, source_mask)
    end = _search(step, _start(carry, made, order, K, N), made, order)
    return back_trace(end.finished, end.history, made.rules.ids)


class _State(NamedTuple):
    t: Int[Array, ""]
    carry: Any  # leaves [K, B, ...]: hypotheses first, as `jax.vmap` computes
    tokens: Int[Array, "B K"]
    log_probs: Float[Array, "B K"]  # -inf where no prefix is alive
    prefixes: Int[Array, "B K T"] | None  # its tokens; None unless n-grams are blocked
    coverage: (
        Float[Array, "B K S"] | None
    )  # its weights, summed; None without a coverage penalty
    finished: Finished
    history: History


def _start(carry: Any, plan: Plan, ranking: Ranking, K: int, N: int) -> _State:
    """Makes the state before the first position: one live prefix, the empty one."""
    (B, S), T, rules = plan.weights.shape, plan.max_decode_length, plan.rules
    first = jnp.where(jnp.arange(K) == 0, 0, -jnp.inf).astype(plan.dtype)

    def copies(x: Any) -> Array:
        return jnp.repeat(jnp.asarray(x)[None], K, axis=0)

    coverage = (
        None if ranking.beta is None else jnp.zeros((B, K, S), plan.weights.dtype)
    )
    return _State(
        t=jnp.zeros((), jnp.int32),
        carry=jax.tree.map(copies, carry),
        tokens=jnp.full((B, K), rules.ids.bos, jnp.int32),
        log_probs=jnp.where(rules.limit[:, None] > 0, first, -jnp.inf),
        prefixes=jnp.zeros((B, K, T), jnp.int32)
        if rules.no_repeat_ngram_size
        else None,
        coverage=coverage,
        finished=empty_finished(plan, N),
        history=empty_history(plan, K),
    )


def _search(step: Step, start: _State, plan: Plan, ranking: Ranking) -> _State:
    """Extends the beam until no live prefix can enter any row's finished list."""
    rules = plan.rules
    steps = jax.vmap(step)
    # log p and coverage only fall, and the length penalty only rises with length:
    # no score can be above log p / this.
    best_penalty = ranking.length_penalty(rules.limit)[:, None]

    def advance(state: _State) -> _State:
        carry, logits, weights = steps(state.carry, state.tokens.T)
        weights = weights.swapaxes(0, 1).astype(plan.weights.dtype)
        tokens, back_pointers, log_probs = _extend(
            logits.astype(plan.dtype), state, rules
        )
        # Unused options have no array (None), which `tree.map` skips.
        prefixes, coverage = jax.tree.map(
            lambda x: take(x, back_pointers),
            (state.prefixes, jax.tree.map(lambda x: x + weights, state.coverage)),
        )
        ended, n = tokens == rules.ids.eos, state.t + 1
        finished = merge(
            state.finished,
            _ended(ended, log_probs, back_pointers, n, coverage, ranking),
        )
        can_enter = log_probs / best_penalty > finished.scores[:, -1:]
        return _State(
            t=n,
            carry=jax.tree.map(lambda x: take(x, back_pointers.T, axis=0), carry),
            tokens=tokens,
            log_probs=jnp.where(can_enter & ~ended, log_probs, -jnp.inf),
            prefixes=jax.tree.map(lambda x: x.at[:, :, n - 1].set(tokens), prefixes),
            coverage=coverage,
            finished=finished,
            history=jax.tree.map(
                lambda x, new: x.at[n - 1].set(new),
                state.history,
                History(tokens, back_pointers, weights),
            ),
        )

    return lax.while_loop(
        lambda s: jnp.any(s.log_probs > -jnp.inf) & (s.t < plan.max_decode_length),
        advance,
        start,
    )


def _extend(
    logits: Float[Array, "K B V"], state: _State, rules: LogitsProcessor
) -> tuple[Array, Array, Array]:
    """Finds the K best extensions: tokens, back-pointers, log-probabilities."""
    K, B, _ = logits.shape
    masked = jax.vmap(rules.masked, in_axes=(0, None, 1))(
        logits, state.t, state.prefixes
    )
    # The K best of all are among the K best of each prefix: no sort over K * V.
    values, ids = top_k(masked, K)
    gains = values - log_normaliser(logits)[..., None]
    totals = state.log_probs[..., None] + gains.swapaxes(0, 1)
    totals, i = lax.top_k(totals.reshape(B, K * K), K)
    return take(ids.swapaxes(0, 1).reshape(B, K * K), i), i // K, totals


def _ended(
    ended: Bool[Array, "B K"],
    log_probs: Float[Array, "B K"],
    back_pointers: Int[Array, "B K"],
    length: Int[Array, ""],
    coverage: Float[Array, "B K S"] | None,
    ranking: Ranking,
) -> Finished:
    """Collects the hypotheses that end at this step; -inf marks the others."""
    log_probs = jnp.where(ended, log_probs, -jnp.inf)
    return Finished(
        scores=ranking.scores(log_probs, length, coverage),
        log_probs=log_probs,
        lengths=jnp.where(log_probs > -jnp.inf, length, 0),
        back_pointers=back_pointers,
    )
