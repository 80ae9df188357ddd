"""Which ids may stand where: lengths, forbidden ids, prefixes, no repetition."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.core._checks import check_ids
from attnjax.decode.arguments import ints, whole
from attnjax.decode.contract import Step, signature


class Ids(NamedTuple):
    """The arguments that name the ids with a meaning."""

    bos: int
    eos: int
    pad: int


class Lengths(NamedTuple):
    """The arguments that bound lengths."""

    max_length: int | Int[Array, "B"]
    size: int | None
    min_length: int


class Constraints(NamedTuple):
    """The arguments that bound what a hypothesis says."""

    suppress_tokens: Sequence[int]
    no_repeat_ngram_size: int
    prefix: Int[Array, "B P"] | None
    prefix_lengths: Int[Array, "B"] | None


class Prefix(NamedTuple):
    """How every hypothesis of a row begins."""

    tokens: Int[Array, "B P"]
    lengths: Int[Array, "B"]


class LogitsProcessor(NamedTuple):
    """Which ids may stand where."""

    ids: Ids
    banned: np.ndarray  # [V] ids that may stand nowhere
    limit: Int[Array, "B"]  # most tokens of each row, EOS among them
    min_length: int
    no_repeat_ngram_size: int  # 0, or the size of n-grams that stand once at most
    prefix: Prefix | None

    def masked(
        self,
        logits: Float[Array, "B ... V"],
        t: Int[Array, ""],
        so_far: Int[Array, "B ... T"] | None,
    ) -> Float[Array, "B ... V"]:
        """Returns the logits with -inf at what may not stand at position `t` (from 0).

        `so_far` holds the tokens before t; it is read only where no_repeat_ngram_size is not 0.
        """
        beam = tuple(range(1, logits.ndim - 1))
        masked = jnp.where(jnp.expand_dims(self._allowed(t), beam), logits, -jnp.inf)
        if so_far is None:
            return masked
        new = without_repeats(masked, so_far, t, self.no_repeat_ngram_size)
        if self.prefix is None:
            return new
        forced = jnp.expand_dims(t < self.prefix.lengths, (*beam, logits.ndim - 1))
        return jnp.where(forced, masked, new)

    def _allowed(self, t: Int[Array, ""]) -> Bool[Array, "B V"]:
        """Returns the ids that may stand at position `t`, whatever stands before."""
        last = (t + 1 >= self.limit)[:, None]
        every = np.arange(self.banned.size, dtype=np.int32)
        is_eos = every == self.ids.eos
        may_end = last | (t + 1 >= self.min_length)
        free = jnp.where(is_eos, may_end, ~self.banned & ~last)
        if self.prefix is None:
            return free
        tokens = lax.dynamic_index_in_dim(self.prefix.tokens, t, axis=1)
        forced = (t < self.prefix.lengths)[:, None]
        return jnp.where(forced, (every == tokens) & (is_eos | ~last), free)


class Plan(NamedTuple):
    """The static sizes of one decoding, and its rules."""

    rules: LogitsProcessor
    size: int  # T, the axis of positions
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
    """Checks the arguments that all decoders share; runs no step."""
    B = whole("batch_size", batch_size, 1)
    logits, weights = signature(step, carry, B)
    V = logits.shape[1]
    limit, T = _limit(lengths.max_length, lengths.size, B)
    least = whole("min_length", lengths.min_length, 0, T, "the longest hypothesis")
    named = ids._asdict().items()
    ids = Ids(*(whole(name, i, 0, V - 1, "the last id") for name, i in named))
    n = whole("no_repeat_ngram_size", constraints.no_repeat_ngram_size, 0)
    rules = LogitsProcessor(
        ids=ids,
        banned=_banned(constraints.suppress_tokens, ids, V),
        limit=limit,
        min_length=least,
        no_repeat_ngram_size=n
        if n < T
        else 0,  # what is as long as all cannot stand twice
        prefix=_prefix(constraints.prefix, constraints.prefix_lengths, B, V),
    )
    return Plan(rules, T, V, logits.dtype, weights)


def without_repeats(
    logits: Float[Array, "... V"],
    tokens: Int[Array, "... T"],
    t: Int[Array, ""],
    n: int,
) -> Float[Array, "... V"]:
    """Returns the logits with -inf at ids that would complete an n-gram again.

    Args:
      logits: of the token at position t.
      tokens: what stands at the positions before t; later ones are not read.
      t: position, from 0.
      n: size of what may not stand twice, below T.

    Example:
      >>> tokens = jnp.array([3, 4, 3, 0])
      >>> without_repeats(jnp.zeros(5), tokens, jnp.array(3), 2).tolist()
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
    max_length: int | Int[Array, "B"], size: int | None, B: int
) -> tuple[Int[Array, "B"], int]:
    """Returns the limit of every row and the static size of the position axis."""
    if jnp.ndim(max_length) == 0:
        most = whole("max_length", max_length, 1)
        T = most if size is None else whole("size", size, 1)
        return jnp.full(B, min(most, T), jnp.int32), T
    if size is None:
        raise ValueError(
            "size: expected an int where max_length is an array, got None "
            "(it is the static axis of positions; max_length only stops rows)"
        )
    T = whole("size", size, 1)
    hint = "one length per row, or one int for all"
    return jnp.clip(ints("max_length", max_length, (B,), hint), 0, T), T


def _banned(suppress_tokens: Sequence[int], ids: Ids, V: int) -> np.ndarray:
    """Returns which ids may stand nowhere, [V]."""
    banned = np.zeros(V, bool)
    for i in suppress_tokens:
        banned[whole("suppress_tokens", i, 0, V - 1, "the last id")] = True
    if banned[ids.eos]:
        raise ValueError(
            f"suppress_tokens: expected ids other than eos, got {ids.eos} "
            "(a hypothesis could not end; raise min_length to delay its end)"
        )
    banned[[ids.bos, ids.pad]] = True
    banned[ids.eos] = False  # some vocabularies have one id for bos, eos and pad
    return banned


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
    tokens = ints("prefix", tokens, (B, "P"), "how each row begins, without bos")
    P = tokens.shape[1]
    if lengths is None:
        lengths = jnp.full(B, P, jnp.int32)
    else:
        lengths = ints("prefix_lengths", lengths, (B,), "tokens of each row's prefix")
    return Prefix(tokens, jnp.minimum(lengths, P)) if P else None
