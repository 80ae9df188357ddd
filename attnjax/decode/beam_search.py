"""Beam search: the K best prefixes of each row, extended together.

At every position the K best extensions of the live prefixes are kept. Those
that end in EOS join the finished hypotheses, the others live on. A row stops
when no live prefix can still enter its list, which is exact: the list is the
one that searching on to the longest length would give. Tokens, alignments and
origins are written down as they come; the hypotheses are read off once at the
end, backwards.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnjax.decode.contract import (
    Hypotheses,
    Plan,
    Rules,
    Step,
    log_normaliser,
    plan,
    whole,
)
from attnjax.decode.selection import top_k


def beam(
    step: Step,
    carry: Any,
    *,
    batch_size: int,
    beam_size: int,
    max_length: int | Int[Array, "B"],
    bos: int,
    eos: int,
    pad: int = 0,
    size: int | None = None,
    min_length: int = 0,
    forbid: Sequence[int] = (),
    length_penalty: float | Float[Array, ""] = 0.0,
    n_best: int | None = None,
) -> Hypotheses:
    """Searches for the hypotheses of the highest length-penalised score.

    .. math:: s(y) = \\log p(y) / \\left(\\frac{5 + |y|}{6}\\right)^\\alpha

    with |y| the number of tokens, EOS among them. `step` is mapped over the beam
    (`jax.vmap`, axis 1), so what it closes over, the memory above all, is not
    copied for each hypothesis. Wrap the caller in `jax.jit`; called eagerly it
    compiles on every call.

    Source: Wu et al. 2016 (arXiv:1609.08144), eq. 14.

    Args:
      step: `(carry, token[B]) -> carry, logits[B, V], weights[B, S]`.
      carry: what the first step starts from; every leaf has a leading axis B.
      batch_size: B.
      beam_size: K, prefixes kept for each row; 1 is greedy search.
      max_length: most tokens of a hypothesis, EOS among them; the last position
        can only hold EOS. An int, or one per row; a row of 0 (padding) is empty.
        With a length penalty the closer it is, the sooner a row can stop.
      bos: id fed to the first step; never emitted.
      eos: id that ends a hypothesis.
      pad: id after the end; never emitted.
      size: T, the static axis of positions; default `max_length`, and needed
        where that is an array.
      min_length: fewest tokens, EOS among them; `max_length` wins over it.
      forbid: ids never emitted, such as the unknown word. Their probability is
        not shared out: log-probabilities stay the model's own.
      length_penalty: alpha, at least 0; 0 ranks by log-probability, and more
        favours longer hypotheses.
      n_best: how many to return, at most `beam_size`, the default. The first n
        are the same for any choice; fewer let rows stop sooner.

    Returns:
      Hypotheses, K = `n_best` for each row.

    Raises:
      ValueError: if a length, an id, a size or what `step` returns does not fit.
      TypeError: if a static argument is no int, or `max_length` holds no ints.

    Example:
      >>> table = jnp.log(jnp.array([[0, 0, 1, 9], [0, 0, 2, 8], [0, 0, 1, 0],
      ...                            [0, 0, 7, 3]]) / 10)
      >>> step = lambda carry, token: (carry, table[token], jnp.zeros((1, 1)))
      >>> found = beam(step, (), batch_size=1, beam_size=2, max_length=4, bos=1, eos=2)
      >>> found.tokens[0]
      Array([[3, 2, 0, 0],
             [2, 0, 0, 0]], dtype=int32)
    """
    made = plan(
        step,
        carry,
        batch_size=batch_size,
        max_length=max_length,
        size=size,
        min_length=min_length,
        bos=bos,
        eos=eos,
        pad=pad,
        forbid=forbid,
    )
    K = whole("beam_size", beam_size, 1, made.vocab_size, "the vocabulary")
    N = K if n_best is None else whole("n_best", n_best, 1, K, "beam_size")
    if isinstance(length_penalty, int | float) and not length_penalty >= 0:
        raise ValueError(
            f"length_penalty: expected at least 0, got {length_penalty} "
            "(0 ranks by log-probability)"
        )
    start = _start(carry, made, K, N, bos)
    end = _search(step, start, made, length_penalty)
    return _read_back(end.finished, end.history, made.rules)


class _Finished(NamedTuple):
    """The best hypotheses that have ended, best first."""

    scores: Float[Array, "B N"]
    log_probs: Float[Array, "B N"]
    lengths: Int[Array, "B N"]  # 0 in a free place
    origins: Int[Array, "B N"]  # the place in the beam that EOS extended


class _History(NamedTuple):
    """What happened at every position, by place in the beam."""

    tokens: Int[Array, "T B K"]  # the token that now stands at the place
    origins: Int[Array, "T B K"]  # the place it extended
    weights: Float[Array, "T B K S"]  # alignment of the place before extension


class _State(NamedTuple):
    t: Int[Array, ""]
    carry: Any  # leaves [B, K, ...]
    tokens: Int[Array, "B K"]
    log_probs: Float[Array, "B K"]  # -inf where nothing lives
    finished: _Finished
    history: _History


def _start(carry: Any, plan: Plan, K: int, N: int, bos: int) -> _State:
    """Returns the state before the first position: one live prefix, the empty one."""
    B, S = plan.weights.shape
    T = plan.size
    first = jnp.where(jnp.arange(K) == 0, 0, -jnp.inf).astype(plan.dtype)

    def copies(x: Any) -> Array:
        return jnp.repeat(jnp.asarray(x)[:, None], K, axis=1)

    return _State(
        t=jnp.zeros((), jnp.int32),
        carry=jax.tree.map(copies, carry),
        tokens=jnp.full((B, K), bos, jnp.int32),
        log_probs=jnp.where(plan.rules.limit[:, None] > 0, first, -jnp.inf),
        finished=_Finished(
            scores=jnp.full((B, N), -jnp.inf, plan.dtype),
            log_probs=jnp.full((B, N), -jnp.inf, plan.dtype),
            lengths=jnp.zeros((B, N), jnp.int32),
            origins=jnp.zeros((B, N), jnp.int32),
        ),
        history=_History(
            tokens=jnp.zeros((T, B, K), jnp.int32),
            origins=jnp.zeros((T, B, K), jnp.int32),
            weights=jnp.zeros((T, B, K, S), plan.weights.dtype),
        ),
    )


def _search(step: Step, start: _State, plan: Plan, alpha: float | Array) -> _State:
    """Extends the beam until no live prefix can enter any row's finished list."""
    rules = plan.rules
    steps = jax.vmap(step, in_axes=1, out_axes=1)
    # log p only falls and the penalty only rises: no score can be above this.
    best_penalty = _penalty(rules.limit, alpha, plan.dtype)[:, None]

    def advance(state: _State) -> _State:
        carry, logits, weights = steps(state.carry, state.tokens)
        logits = logits.astype(plan.dtype)
        tokens, origins, log_probs = _extend(logits, state.log_probs, rules, state.t)
        ended = tokens == rules.eos
        n = state.t + 1
        finished = _insert(
            state.finished,
            jnp.where(ended, log_probs, -jnp.inf),
            origins,
            n,
            _penalty(n, alpha, plan.dtype),
        )
        can_enter = log_probs / best_penalty > finished.scores[:, -1:]
        now = _History(tokens, origins, weights.astype(plan.weights.dtype))
        return _State(
            t=n,
            carry=jax.tree.map(lambda x: _take(x, origins), carry),
            tokens=tokens,
            log_probs=jnp.where(can_enter & ~ended, log_probs, -jnp.inf),
            finished=finished,
            history=jax.tree.map(
                lambda x, new: x.at[n - 1].set(new), state.history, now
            ),
        )

    return lax.while_loop(
        lambda s: jnp.any(s.log_probs > -jnp.inf) & (s.t < plan.size), advance, start
    )


def _extend(
    logits: Float[Array, "B K V"],
    log_probs: Float[Array, "B K"],
    rules: Rules,
    t: Int[Array, ""],
) -> tuple[Array, Array, Array]:
    """Returns tokens, origins and log-probabilities of the K best extensions."""
    B, K, _ = logits.shape
    masked = jnp.where(rules.allowed(t)[:, None], logits, -jnp.inf)
    # The K best of all are among the K best of each, which saves a sort of K V.
    values, ids = top_k(masked, K)
    totals = log_probs[..., None] + (values - log_normaliser(logits)[..., None])
    totals, i = lax.top_k(totals.reshape(B, K * K), K)
    return _take(ids.reshape(B, K * K), i), i // K, totals


def _insert(
    finished: _Finished,
    log_probs: Float[Array, "B K"],
    origins: Int[Array, "B K"],
    length: Int[Array, ""],
    penalty: Float[Array, ""],
) -> _Finished:
    """Merges hypotheses that end now into the list; -inf marks those that do not."""
    new = _Finished(
        scores=log_probs / penalty,
        log_probs=log_probs,
        lengths=jnp.where(log_probs > -jnp.inf, length, 0),
        origins=origins,
    )
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), finished, new)
    _, best = lax.top_k(both.scores, finished.scores.shape[1])
    return jax.tree.map(lambda x: _take(x, best), both)


def _penalty(length: Array, alpha: float | Array, dtype: Any) -> Array:
    return ((5 + length.astype(dtype)) / 6) ** jnp.asarray(alpha, dtype)


def _take(x: Array, places: Int[Array, "B K"]) -> Array:
    """Reorders axis 1 of `x` row by row."""
    places = places.reshape(*places.shape, *[1] * (x.ndim - 2))
    return jnp.take_along_axis(x, places, axis=1, mode="promise_in_bounds")


def _read_back(finished: _Finished, history: _History, rules: Rules) -> Hypotheses:
    """Follows every finished hypothesis from its end to its beginning."""
    T = history.tokens.shape[0]
    last = finished.lengths - 1

    def back(place: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Any]:
        t, tokens, origins = at
        token = jnp.where(t == last, rules.eos, _take(tokens, place))
        origin = jnp.where(t == last, finished.origins, _take(origins, place))
        return origin, (jnp.where(t <= last, token, rules.pad), origin)

    _, (tokens, origins) = lax.scan(
        back,
        jnp.zeros_like(last),
        (jnp.arange(T, dtype=last.dtype), history.tokens, history.origins),
        reverse=True,
    )
    weights = jnp.take_along_axis(history.weights, origins[..., None], axis=2)
    within = jnp.arange(T, dtype=last.dtype)[:, None, None, None] <= last[..., None]
    return Hypotheses(
        tokens=jnp.moveaxis(tokens, 0, 2),
        lengths=finished.lengths,
        log_probs=finished.log_probs,
        scores=finished.scores,
        weights=jnp.moveaxis(jnp.where(within, weights, 0), 0, 2),
    )
