"""One hypothesis per row: the likeliest token each time, or a drawn one."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.decode.constraints import Constraints, Ids, Lengths, Plan, plan
from attnjax.decode.contract import Hypotheses, Step, log_normaliser
from attnjax.decode.logits_processors import check_truncation, truncate

# position t, logits [B, V] with -inf at what is not allowed -> token [B]
Pick = Callable[[Array, Array], Array]


def greedy(
    step: Step,
    carry: Any,
    *,
    batch_size: int,
    max_length: int | Int[Array, "B"],
    bos: int,
    eos: int,
    pad: int = 0,
    size: int | None = None,
    min_length: int = 0,
    suppress_tokens: Sequence[int] = (),
    no_repeat_ngram_size: int = 0,
    prefix: Int[Array, "B P"] | None = None,
    prefix_lengths: Int[Array, "B"] | None = None,
) -> Hypotheses:
    """Decodes by taking the likeliest allowed token at every position.

    .. math:: y_t = \\arg\\max_y \\log p(y \\mid y_1 \\ldots y_{t-1})

    Wrap the caller in `jax.jit`; called eagerly it compiles on every call.

    Args:
      step: `(carry, token[B]) -> carry, logits[B, V], weights[B, S]`.
      carry: what the first step starts from; every leaf has a leading axis B.
      batch_size: B.
      max_length: most tokens of a hypothesis, EOS among them; the last position
        can only hold EOS. An int, or one per row; a row of 0 (padding) is empty.
      bos: id fed to the first step; never emitted.
      eos: id that ends a hypothesis.
      pad: id after the end; never emitted.
      size: T, the static axis of positions; default `max_length`, and needed
        where that is an array.
      min_length: fewest tokens, EOS among them; `max_length` wins over it.
      suppress_tokens: ids never emitted, such as the unknown word. Their probability is
        not shared out: log-probabilities stay the model's own.
      no_repeat_ngram_size: size of the n-grams that may not stand twice in a hypothesis; 0
        for none.
      prefix: ids that each row's hypotheses begin with, without BOS, shape [B, P].
        They go before `suppress_tokens`, `no_repeat_ngram_size` and `min_length`, not before
        `max_length`: a row is empty if they leave no place for EOS. An EOS among
        them ends the hypothesis; an id outside the vocabulary leaves none.
      prefix_lengths: how many of them count, one per row; default all P.

    Returns:
      Hypotheses with K = 1; scores are the log-probabilities.

    Raises:
      ValueError: if a length, an id or what `step` returns does not fit.
      TypeError: if a static argument is no int, or an array holds no ints.

    Example:
      >>> table = jnp.log(jnp.array([[0, 0, 1, 9], [0, 0, 2, 8], [0, 0, 1, 0],
      ...                            [0, 0, 7, 3]]) / 10)
      >>> step = lambda carry, token: (carry, table[token], jnp.zeros((1, 1)))
      >>> greedy(step, (), batch_size=1, max_length=5, bos=1, eos=2).tokens
      Array([[[3, 2, 0, 0, 0]]], dtype=int32)
    """
    made = plan(
        step,
        carry,
        batch_size,
        Ids(bos, eos, pad),
        Lengths(max_length, size, min_length),
        Constraints(suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths),
    )
    return _walk(step, carry, made, lambda t, logits: jnp.argmax(logits, axis=-1))


def sample(
    rng: Array,
    step: Step,
    carry: Any,
    *,
    batch_size: int,
    max_length: int | Int[Array, "B"],
    bos: int,
    eos: int,
    pad: int = 0,
    size: int | None = None,
    min_length: int = 0,
    suppress_tokens: Sequence[int] = (),
    no_repeat_ngram_size: int = 0,
    prefix: Int[Array, "B P"] | None = None,
    prefix_lengths: Int[Array, "B"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    top_k: int | Int[Array, ""] | None = None,
    top_p: float | Float[Array, ""] = 1.0,
    min_p: float | Float[Array, ""] = 0.0,
) -> Hypotheses:
    """Decodes by drawing every token from the model.

    .. math:: y_t \\sim \\mathrm{softmax}(\\ell_t / \\tau)

    over the allowed ids, with logits l_t and temperature tau. Of the probabilities
    at this temperature the `top_k` likeliest ids are kept; of these, with their
    probabilities shared out anew, the nucleus `top_p`; and of these what is above
    `min_p`: in this order. What a row draws depends on `rng`, its index and the
    position only, not on the other rows. Several draws are
    `jax.vmap(lambda rng: sample(rng, ...))` over split keys.

    Args:
      rng: one typed key.
      temperature: below 1 sharpens, above 1 flattens; must be positive.
      top_k: how many ids are kept (see `keep_top_k`); None for all.
      top_p: the probability that the kept ids have together (see `keep_top_p`).
      min_p: the least share of the likeliest id's probability (see `keep_min_p`).
      step, carry, batch_size, max_length, bos, eos, pad, size, min_length, suppress_tokens,
        no_repeat_ngram_size, prefix, prefix_lengths: as in `greedy`.

    Returns:
      Hypotheses with K = 1. Log-probabilities and scores are the model's own,
      whatever the temperature.

    Raises:
      ValueError: as `greedy`, or if a number that shapes the draw does not fit.
      TypeError: as `greedy`, or if `rng` is no typed key.

    Example:
      >>> step = lambda carry, token: (carry, jnp.zeros((1, 4)), jnp.zeros((1, 1)))
      >>> drawn = sample(jax.random.key(0), step, (), batch_size=1, max_length=3,
      ...                bos=1, eos=2)
      >>> int(drawn.lengths[0, 0]) <= 3
      True
    """
    dtype = getattr(rng, "dtype", type(rng).__name__)
    if not (hasattr(rng, "dtype") and jnp.issubdtype(dtype, jax.dtypes.prng_key)):
        raise TypeError(
            f"rng: expected a typed key, got {dtype} (make it with jax.random.key)"
        )
    made = plan(
        step,
        carry,
        batch_size,
        Ids(bos, eos, pad),
        Lengths(max_length, size, min_length),
        Constraints(suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths),
    )
    shape = partial(
        truncate, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    check_truncation(made.vocab_size, **shape.keywords)
    rows = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(batch_size))

    def draw(t: Array, logits: Array) -> Array:
        keys = jax.vmap(jax.random.fold_in, (0, None))(rows, t)
        return jax.vmap(jax.random.categorical)(keys, shape(logits))

    return _walk(step, carry, made, draw)


class _State(NamedTuple):
    t: Int[Array, ""]
    carry: Any
    token: Int[Array, "B"]
    alive: Bool[Array, "B"]
    log_prob: Float[Array, "B"]
    tokens: Int[Array, "T B"]
    weights: Float[Array, "T B S"]


def _walk(step: Step, carry: Any, plan: Plan, pick: Pick) -> Hypotheses:
    """Steps until every row has ended, taking the tokens that `pick` picks."""
    rules, T = plan.rules, plan.size
    B, S = plan.weights.shape

    def advance(state: _State) -> _State:
        carry, logits, weights = step(state.carry, state.token)
        logits = logits.astype(plan.dtype)
        so_far = state.tokens.T if rules.no_repeat_ngram_size else None
        masked = rules.masked(logits, state.t, so_far)
        token = pick(state.t, masked).astype(jnp.int32)
        gain = jnp.take_along_axis(masked, token[:, None], axis=1)[:, 0]
        gain = gain - log_normaliser(logits)
        token = jnp.where(state.alive, token, rules.ids.pad)
        weights = jnp.where(state.alive[:, None], weights.astype(plan.weights.dtype), 0)
        log_prob = state.log_prob + jnp.where(state.alive, gain, 0)
        alive = state.alive & (token != rules.ids.eos) & (log_prob > -jnp.inf)
        return _State(
            t=state.t + 1,
            carry=carry,
            token=token,
            alive=alive,
            log_prob=log_prob,
            tokens=state.tokens.at[state.t].set(token),
            weights=state.weights.at[state.t].set(weights),
        )

    alive = rules.limit > 0
    start = _State(
        t=jnp.zeros((), jnp.int32),
        carry=jax.tree.map(jnp.asarray, carry),
        token=jnp.full(B, rules.ids.bos, jnp.int32),
        alive=alive,
        log_prob=jnp.where(alive, 0, -jnp.inf).astype(plan.dtype),
        tokens=jnp.full((T, B), rules.ids.pad, jnp.int32),
        weights=jnp.zeros((T, B, S), plan.weights.dtype),
    )
    end = lax.while_loop(lambda s: jnp.any(s.alive) & (s.t < T), advance, start)
    return _one_each(end, rules.ids)


def _one_each(end: _State, ids: Ids) -> Hypotheses:
    """Lays out what was collected by position as one hypothesis for each row."""
    some = end.log_prob > -jnp.inf
    # Every hypothesis ends in the only EOS it has, so that gives its length.
    lengths = jnp.where(some, jnp.argmax(end.tokens == ids.eos, axis=0) + 1, 0)
    tokens = jnp.where(some[:, None], end.tokens.T, ids.pad)
    weights = jnp.where(some[:, None, None], end.weights.swapaxes(0, 1), 0)
    return Hypotheses(
        tokens=tokens[:, None],
        lengths=lengths.astype(jnp.int32)[:, None],
        log_probs=end.log_prob[:, None],
        scores=end.log_prob[:, None],
        weights=weights[:, None],
    )
