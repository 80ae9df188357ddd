"""Greedy search and sampling: one hypothesis per row."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.core._checks import broadcasting
from attnjax.decode.constraints import SpecialTokens
from attnjax.decode.contract import Hypotheses, Step, log_normaliser
from attnjax.decode.logits_processors import check_warp_arguments, warp_logits
from attnjax.decode.setup import (
    ConstraintArguments,
    DecodeSetup,
    LengthArguments,
    set_up,
)

# position t, logits [B, V] with -inf at tokens that are not allowed -> token [B]
SelectToken = Callable[[Array, Array], Array]


@broadcasting
def greedy(
    step: Step,
    carry: Any,
    *,
    batch_size: int,
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
) -> Hypotheses:
    """Decodes by selecting the most likely allowed token at every position.

    .. math:: y_t = \\arg\\max_y \\log p(y \\mid y_1 \\ldots y_{t-1})

    Wrap the caller in `jax.jit`: an eager call compiles every time.

    Args:
      step: `(carry, token[B]) -> carry, logits[B, V], weights[B, S]`.
      carry: the carry of the first step; every leaf has a leading axis B.
      batch_size: B.
      max_length: maximum number of tokens, including EOS; the last position can
        only hold EOS. An int, or one per row; a row with 0 (padding) stays empty.
      bos: id fed to the first step; never emitted.
      eos: id that ends a hypothesis.
      pad: id after the end; never emitted.
      max_decode_length: T, the static number of positions; default `max_length`,
        required where that is an array.
      min_length: minimum number of tokens, including EOS; `max_length` overrides it.
      suppress_tokens: ids never generated, such as the unknown word. Log-probabilities
        are not renormalised over the other ids: they stay those of the model.
      no_repeat_ngram_size: size of the n-grams that may occur only once in a
        hypothesis; 0 for no constraint.
      prefix: forced first tokens of each row, without BOS, shape [B, P]. They override
        `suppress_tokens`, `no_repeat_ngram_size` and `min_length`, but not
        `max_length`: a row stays empty if its prefix leaves no room for EOS. An EOS in
        the prefix ends the hypothesis; an id outside the vocabulary leaves the row
        empty.
      prefix_lengths: number of forced tokens of each row; default all P.

    Returns:
      Hypotheses with K = 1; scores are the log-probabilities.

    Raises:
      ValueError: if a length, an id or an output of `step` is invalid.
      TypeError: if a static argument is not an int, or an array does not hold ints.

    Example:
      >>> table = jnp.log(jnp.array([[0, 0, 1, 9], [0, 0, 2, 8], [0, 0, 1, 0],
      ...                            [0, 0, 7, 3]]) / 10)
      >>> step = lambda carry, token: (carry, table[token], jnp.zeros((1, 1)))
      >>> greedy(step, (), batch_size=1, max_length=5, bos=1, eos=2).tokens
      Array([[[3, 2, 0, 0, 0]]], dtype=int32)
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
    return _decode(step, carry, setup, lambda t, logits: jnp.argmax(logits, axis=-1))


@broadcasting
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
    max_decode_length: int | None = None,
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
    """Decodes by sampling every token from the model's distribution.

    .. math:: y_t \\sim \\mathrm{softmax}(\\ell_t / \\tau)

    over the allowed ids, with logits l_t and temperature tau. Temperature, `top_k`,
    `top_p` and `min_p` apply in this order, each to the renormalised distribution that
    the one before leaves. The sample of a row depends only on `rng`, the index of the
    row and the position, not on the other rows. For several samples, map over split
    keys: `jax.vmap(lambda rng: sample(rng, ...))`.

    Args:
      rng: one typed key.
      temperature: below 1 sharpens, above 1 flattens; must be positive.
      top_k: number of ids to keep (see `keep_top_k`); None for all.
      top_p: total probability of the ids to keep (see `keep_top_p`).
      min_p: minimum probability of an id, relative to the most likely one (see
        `keep_min_p`).
      step, carry, batch_size, max_length, bos, eos, pad, max_decode_length, min_length,
        suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths: as in `greedy`.

    Returns:
      Hypotheses with K = 1. Log-probabilities and scores are those of the model, at
      temperature 1 and without truncation.

    Raises:
      ValueError: as `greedy`, or if a sampling argument is out of its range.
      TypeError: as `greedy`, or if `rng` is not a typed key.

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
    warp = partial(
        warp_logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    check_warp_arguments(setup.vocab_size, **warp.keywords)
    # One key per row, so that padding the batch does not change the samples.
    row_rngs = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(batch_size))

    def draw(t: Array, logits: Array) -> Array:
        rngs = jax.vmap(jax.random.fold_in, (0, None))(row_rngs, t)
        return jax.vmap(jax.random.categorical)(rngs, warp(logits))

    return _decode(step, carry, setup, draw)


class _State(NamedTuple):
    t: Int[Array, ""]
    carry: Any
    token: Int[Array, "B"]
    unfinished: Bool[Array, "B"]
    log_prob: Float[Array, "B"]
    tokens: Int[Array, "T B"]
    weights: Float[Array, "T B S"]


def _decode(
    step: Step, carry: Any, setup: DecodeSetup, select_token: SelectToken
) -> Hypotheses:
    """Decodes with one token per row and step, until every row has ended."""
    constraints, T = setup.constraints, setup.max_decode_length
    (B, S), special = setup.weights.shape, constraints.tokens

    def advance(state: _State) -> _State:
        carry, logits, weights = step(state.carry, state.token)
        logits = logits.astype(setup.dtype)
        # [T, B] -> [B, T]
        generated = state.tokens.T if constraints.no_repeat_ngram_size else None
        masked = constraints.mask_logits(logits, state.t, generated)
        token = select_token(state.t, masked).astype(jnp.int32)
        gain = jnp.take_along_axis(masked, token[:, None], axis=1)[:, 0]
        gain = gain - log_normaliser(logits)
        token = jnp.where(state.unfinished, token, special.pad)
        weights = weights.astype(setup.weights.dtype)
        weights = jnp.where(state.unfinished[:, None], weights, 0)
        log_prob = state.log_prob + jnp.where(state.unfinished, gain, 0)
        ended = (token == special.eos) | (log_prob == -jnp.inf)
        return _State(
            t=state.t + 1,
            carry=carry,
            token=token,
            unfinished=state.unfinished & ~ended,
            log_prob=log_prob,
            tokens=state.tokens.at[state.t].set(token),
            weights=state.weights.at[state.t].set(weights),
        )

    unfinished = constraints.max_lengths > 0
    state = _State(
        t=jnp.zeros((), jnp.int32),
        carry=jax.tree.map(jnp.asarray, carry),
        token=jnp.full(B, special.bos, jnp.int32),
        unfinished=unfinished,
        log_prob=jnp.where(unfinished, 0, -jnp.inf).astype(setup.dtype),
        tokens=jnp.full((T, B), special.pad, jnp.int32),
        weights=jnp.zeros((T, B, S), setup.weights.dtype),
    )
    state = lax.while_loop(lambda s: jnp.any(s.unfinished) & (s.t < T), advance, state)
    return _to_hypotheses(state, special)


def _to_hypotheses(state: _State, special: SpecialTokens) -> Hypotheses:
    """Transposes the record of all positions into one hypothesis per row."""
    exists = state.log_prob > -jnp.inf
    # A hypothesis ends in its only EOS, whose position gives the length.
    lengths = jnp.where(exists, jnp.argmax(state.tokens == special.eos, axis=0) + 1, 0)
    tokens = jnp.where(exists[:, None], state.tokens.T, special.pad)  # -> [B, T]
    weights = state.weights.swapaxes(0, 1)  # [T, B, S] -> [B, T, S]
    weights = jnp.where(exists[:, None, None], weights, 0)
    return Hypotheses(
        tokens=tokens[:, None],
        lengths=lengths.astype(jnp.int32)[:, None],
        log_probs=state.log_prob[:, None],
        scores=state.log_prob[:, None],
        weights=weights[:, None],
    )
