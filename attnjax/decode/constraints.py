"""Constraints as a logits processor: lengths, suppressed tokens, prefixes, n-grams."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.core._checks import check_ids
from attnjax.decode.arguments import as_int_array, check_int
from attnjax.decode.contract import Step, step_shapes


class Ids(NamedTuple):
    """The arguments for special tokens."""

    bos: int
    eos: int
    pad: int


class Lengths(NamedTuple):
    """The arguments that bound lengths."""

    max_length: int | Int[Array, "B"]
    max_decode_length: int | None
    min_length: int


class Constraints(NamedTuple):
    """The arguments that constrain the tokens of a hypothesis."""

    suppress_tokens: Sequence[int]
    no_repeat_ngram_size: int
    prefix: Int[Array, "B P"] | None
    prefix_lengths: Int[Array, "B"] | None


class Prefix(NamedTuple):
    """The tokens that every hypothesis of a row begins with."""

    tokens: Int[Array, "B P"]
    lengths: Int[Array, "B"]


class LogitsProcessor(NamedTuple):
    """Sets the logits of tokens that are not allowed at a position to -inf."""

    ids: Ids
    suppressed: np.ndarray  # [V], True = never decoded
    limit: Int[Array, "B"]  # maximum length of each row, with EOS
    min_length: int
    no_repeat_ngram_size: int  # 0: repetition is allowed
    prefix: Prefix | None

    def masked(
        self,
        logits: Float[Array, "B ... V"],
        t: Int[Array, ""],
        prefixes: Int[Array, "B ... T"] | None,
    ) -> Float[Array, "B ... V"]:
        """Masks the logits of position `t` (from 0) with -inf.

        `prefixes` holds the tokens before t; it is None unless n-grams are blocked.
        """
        beam = tuple(range(1, logits.ndim - 1))
        masked = jnp.where(jnp.expand_dims(self._allowed(t), beam), logits, -jnp.inf)
        if prefixes is None:
            return masked
        new = block_repeated_ngrams(masked, prefixes, t, self.no_repeat_ngram_size)
        if self.prefix is None:
            return new
        forced = jnp.expand_dims(t < self.prefix.lengths, (*beam, logits.ndim - 1))
        return jnp.where(forced, masked, new)

    def _allowed(self, t: Int[Array, ""]) -> Bool[Array, "B V"]:
        """Finds the ids allowed at position `t`, whatever the tokens before it."""
        last = (t + 1 >= self.limit)[:, None]
        every = np.arange(self.suppressed.size, dtype=np.int32)
        is_eos = every == self.ids.eos
        may_end = last | (t + 1 >= self.min_length)
        free = jnp.where(is_eos, may_end, ~self.suppressed & ~last)
        if self.prefix is None:
            return free
        tokens = lax.dynamic_index_in_dim(self.prefix.tokens, t, axis=1)
        forced = (t < self.prefix.lengths)[:, None]
        return jnp.where(forced, (every == tokens) & (is_eos | ~last), free)


class Plan(NamedTuple):
    """Static sizes and constraints of one decoding."""

    rules: LogitsProcessor
    max_decode_length: int  # T, the axis of positions
    vocab_size: int
    dtype: Any  # of log-probabilities: at least float32
    weights: jax.ShapeDtypeStruct  # [B, S], at least float32


def plan(
    step: Step,
    carry: Any,
    batch_size: int,
    ids: Ids,
    lengths: Lengths,
    constraints: Constraints,
) -> Plan:
    """Checks the arguments that all decoders share, without a step."""
    B = check_int("batch_size", batch_size, 1)
    logits, weights = step_shapes(step, carry, B)
    V = logits.shape[1]
    limit, T = _limit(lengths.max_length, lengths.max_decode_length, B)
    least = check_int("min_length", lengths.min_length, 0, T, "the longest hypothesis")
    named = ids._asdict().items()
    ids = Ids(*(check_int(name, i, 0, V - 1, "the last id") for name, i in named))
    n = check_int("no_repeat_ngram_size", constraints.no_repeat_ngram_size, 0)
    rules = LogitsProcessor(
        ids=ids,
        suppressed=_suppressed(constraints.suppress_tokens, ids, V),
        limit=limit,
        min_length=least,
        no_repeat_ngram_size=n if n < T else 0,  # longer n-grams cannot repeat
        prefix=_prefix(constraints.prefix, constraints.prefix_lengths, B, V),
    )
    return Plan(rules, T, V, logits.dtype, weights)


def block_repeated_ngrams(
    logits: Float[Array, "... V"],
    tokens: Int[Array, "... T"],
    t: Int[Array, ""],
    n: int,
) -> Float[Array, "... V"]:
    """Masks ids that would complete an n-gram a second time with -inf.

    Args:
      logits: of the token at position t.
      tokens: the tokens before position t; later ones are ignored.
      t: position, from 0.
      n: size of the n-grams, below T.

    Example:
      >>> tokens = jnp.array([3, 4, 3, 0])
      >>> block_repeated_ngrams(jnp.zeros(5), tokens, jnp.array(3), 2).tolist()
      [0.0, 0.0, 0.0, 0.0, -inf]
    """
    *lead, T = tokens.shape
    starts = T - n + 1
    seen = jnp.arange(starts, dtype=t.dtype) + n <= t  # n-grams that end before t
    for i in range(n - 1):
        last = lax.dynamic_index_in_dim(tokens, t - (n - 1) + i, axis=-1)
        seen = seen & (tokens[..., i : i + starts] == last)
    rows, V = int(np.prod(lead)), logits.shape[-1]
    ends = tokens[..., n - 1 :].reshape(rows, starts)
    floor = jnp.where(jnp.broadcast_to(seen, (*lead, starts)), -jnp.inf, jnp.inf)
    at = jnp.arange(rows)[:, None], ends
    flat = logits.reshape(rows, V)
    floor = floor.reshape(rows, starts).astype(flat.dtype)
    return flat.at[at].min(floor, mode="promise_in_bounds").reshape(logits.shape)


def _limit(
    max_length: int | Int[Array, "B"], max_decode_length: int | None, B: int
) -> tuple[Int[Array, "B"], int]:
    """Finds the maximum length of each row, and T, the static position axis."""
    if jnp.ndim(max_length) == 0:
        most = check_int("max_length", max_length, 1)
        T = most
        if max_decode_length is not None:
            T = check_int("max_decode_length", max_decode_length, 1)
        return jnp.full(B, min(most, T), jnp.int32), T
    if max_decode_length is None:
        raise ValueError(
            "max_decode_length: expected an int where max_length is an array, got None "
            "(it is the static position axis; max_length stops rows earlier)"
        )
    T = check_int("max_decode_length", max_decode_length, 1)
    hint = "one length per row, or one int for all"
    return jnp.clip(as_int_array("max_length", max_length, (B,), hint), 0, T), T


def _suppressed(suppress_tokens: Sequence[int], ids: Ids, V: int) -> np.ndarray:
    """Marks the ids that are never decoded, [V]."""
    suppressed = np.zeros(V, bool)
    for i in suppress_tokens:
        suppressed[check_int("suppress_tokens", i, 0, V - 1, "the last id")] = True
    if suppressed[ids.eos]:
        raise ValueError(
            f"suppress_tokens: expected ids other than eos, got {ids.eos} "
            "(a hypothesis could not end; raise min_length to delay its end)"
        )
    suppressed[[ids.bos, ids.pad]] = True
    suppressed[ids.eos] = False  # some vocabularies have one id for bos, eos and pad
    return suppressed


def _prefix(tokens: Any, lengths: Any, B: int, V: int) -> Prefix | None:
    if tokens is None:
        if lengths is not None:
            raise ValueError(
                "prefix: expected the tokens that prefix_lengths counts, got None "
                "(shape [B, P], padded to the longest)"
            )
        return None
    if lengths is None:
        check_ids("prefix", tokens, V)
    tokens = as_int_array(
        "prefix", tokens, (B, "P"), "how each row begins, without bos"
    )
    P = tokens.shape[1]
    if lengths is None:
        lengths = jnp.full(B, P, jnp.int32)
    else:
        lengths = as_int_array(
            "prefix_lengths", lengths, (B,), "tokens of each row's prefix"
        )
    return Prefix(tokens, jnp.minimum(lengths, P)) if P else None
