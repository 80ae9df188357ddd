"""One hypothesis per row: greedy decoding and sampling."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.decode.constraints import Constraints, Ids, Lengths, Plan, plan
from attnjax.decode.contract import Hypotheses, Step, log_normaliser
from attnjax.decode.logits_processors import check_sampling_options, process_logits

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
    max_decode_length: int | None = None,
    min_length: int = 0,
    suppress_tokens: Sequence[int] = (),
    no_repeat_ngram_size: int = 0,
    prefix: Int[Array, "B P"] | None = None,
    prefix_lengths: Int[Array, "B"] | None = None,
) -> Hypotheses:
    """Decodes the most probable allowed token at every position.

    .. math:: y_t = \\arg\\max_y \\log p(y \\mid y_1 \\ldots y_{t-1})

    Wrap the caller in `jax.jit`: an eager call compiles every time.

    Args:
      step: `(carry, token[B]) -> carry, logits[B, V], weights[B, S]`.
      carry: the carry of the first step; every leaf has a leading axis B.
      batch_size: B.
      max_length: maximum number of tokens of a hypothesis, EOS among them; the last
        position can only be EOS. An int, or one per row; 0 leaves a row empty.
      bos: id of the first step's input; never decoded.
      eos: id that ends a hypothesis.
      pad: id after the end; never decoded.
      max_decode_length: T, the static size of the position axis; `max_length` by
        default, required where that is an array.
      min_length: minimum number of tokens, EOS among them; `max_length` has precedence.
      suppress_tokens: ids that are never decoded, such as the unknown word. The other
        probabilities are not renormalised: log-probabilities stay the model's own.
      no_repeat_ngram_size: size of the n-grams that may occur only once in a
        hypothesis; 0 allows any repetition.
      prefix: ids that each row's hypotheses begin with, without BOS, shape [B, P].
        They override `suppress_tokens`, `no_repeat_ngram_size` and `min_length`, but
        not `max_length`: a row is empty if they leave no room for EOS. An EOS in the
        prefix ends the hypothesis; an id outside the vocabulary leaves the row empty.
      prefix_lengths: number of prefix tokens, one per row; all P by default.

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
        Lengths(max_length, max_decode_length, min_length),
        Constraints(suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths),
    )
    return _decode(step, carry, made, lambda t, logits: jnp.argmax(logits, axis=-1))


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
    """Decodes by sampling every token from the model.

    .. math:: y_t \\sim \\mathrm{softmax}(\\ell_t / \\tau)

    over the allowed ids, with logits l_t and temperature tau. After the temperature,
    `top_k`, `top_p` and `min_p` apply in this order, each to the renormalised
    probabilities that the one before left. A row's sample depends on `rng`, its index
    and the position only, not on the other rows. For several samples per row use
    `jax.vmap(lambda rng: sample(rng, ...))` over split keys.

    Args:
      rng: one typed key.
      temperature: below 1 sharpens, above 1 flattens; must be positive.
      top_k: number of ids to keep (see `keep_top_k`); None keeps all.
      top_p: total probability of the ids to keep (see `keep_top_p`).
      min_p: minimum probability, relative to the most probable id (see `keep_min_p`).
      step, carry, batch_size, max_length, bos, eos, pad, max_decode_length, min_length,
        suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths: as in `greedy`.

    Returns:
      Hypotheses with K = 1. Log-probabilities and scores are the model's own,
      whatever the temperature.

    Raises:
      ValueError: as `greedy`, or if a sampling option is out of range.
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
        Lengths(max_length, max_decode_length, min_length),
        Constraints(suppress_tokens, no_repeat_ngram_size, prefix, prefix_lengths),
    )
    shape = partial(
        process_logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    check_sampling_options(made.vocab_size, **shape.keywords)
    rows = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(batch_size))

    def draw(t: Array, logits: Array) -> Array:
        keys = jax.vmap(jax.random.fold_in, (0, None))(rows, t)
        return jax.vmap(jax.random.categorical)(keys, shape(logits))

    return _decode(step, carry, made, draw)


class _State(NamedTuple):
    t: Int[Array, ""]
    carry: Any
    token: Int[Array, "B"]
    alive: Bool[Array, "B"]
    log_prob: Float[Array, "B"]
    tokens: Int[Array, "T B"]
    weights: Float[Array, "T B S"]


def _decode(step: Step, carry: Any, plan: Plan, pick: Pick) -> Hypotheses:
    """Decodes until every row has ended, with the tokens that `pick` chooses."""
    rules, T = plan.rules, plan.max_decode_length
    B, S = plan.weights.shape

    def advance(state: _State) -> _State:
        carry, logits, weights = step(state.carry, state.token)
        logits = logits.astype(plan.dtype)
        prefixes = state.tokens.T if rules.no_repeat_ngram_size else None
        masked = rules.masked(logits, state.t, prefixes)
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
    return _to_hypotheses(end, rules.ids)


def _to_hypotheses(end: _State, ids: Ids) -> Hypotheses:
    """Arranges the tokens of all positions as one hypothesis for each row."""
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
