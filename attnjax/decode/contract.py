"""What every decoder takes and gives back, and the checks of its arguments."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnjax.core.precision import accumulation_dtype

# carry, token [B] -> carry, logits [B, V], weights [B, S]
Step = Callable[[Any, Array], tuple[Any, Array, Array]]


class Hypotheses(NamedTuple):
    """Decoded sequences, K for each row, best first.

    A slot without a hypothesis (nothing was allowed, or the row may hold no
    token) has length 0, only padding, and log-probability and score -inf.
    """

    tokens: Int[Array, "B K T"]  # EOS kept, padding after it
    lengths: Int[Array, "B K"]  # tokens, EOS among them
    log_probs: Float[Array, "B K"]  # of the whole sequence under the model, nats
    scores: Float[Array, "B K"]  # what the hypotheses are sorted by
    weights: Float[Array, "B K T S"]  # alignment; zero where tokens are padding


class Rules(NamedTuple):
    """Which ids may stand where."""

    banned: np.ndarray  # [V] ids that may stand nowhere
    limit: Int[Array, "B"]  # most tokens of each row, EOS among them
    min_length: int
    eos: int
    pad: int

    def allowed(self, t: Int[Array, ""]) -> Bool[Array, "B V"]:
        """Returns the ids that may stand at position `t` (from 0)."""
        last = (t + 1 >= self.limit)[:, None]
        is_eos = np.arange(self.banned.size) == self.eos
        may_end = last | (t + 1 >= self.min_length)
        return jnp.where(is_eos, may_end, ~self.banned & ~last)


class Plan(NamedTuple):
    """The static sizes of one decoding, and its rules."""

    rules: Rules
    size: int  # T, the axis of positions
    vocab_size: int
    dtype: Any  # of log-probabilities: at least float32
    weights: jax.ShapeDtypeStruct  # [B, S], at least float32


def plan(
    step: Step,
    carry: Any,
    *,
    batch_size: int,
    max_length: int | Int[Array, "B"],
    size: int | None,
    min_length: int,
    bos: int,
    eos: int,
    pad: int,
    forbid: Sequence[int],
) -> Plan:
    """Checks the arguments that all decoders share; runs no step."""
    B = whole("batch_size", batch_size, 1)
    logits, weights = _signature(step, carry, B)
    V = logits.shape[1]
    limit, T = _limit(max_length, size, B)
    least = whole("min_length", min_length, 0, T, "the longest hypothesis")
    named = {"bos": bos, "eos": eos, "pad": pad}
    ids = {name: whole(name, i, 0, V - 1, "the last id") for name, i in named.items()}
    banned = np.zeros(V, bool)
    for i in forbid:
        banned[whole("forbid", i, 0, V - 1, "the last id")] = True
    if banned[eos]:
        raise ValueError(
            f"forbid: expected ids other than eos, got {eos} "
            "(a hypothesis could not end; raise min_length to delay its end)"
        )
    banned[[ids["bos"], ids["pad"]]] = True
    banned[eos] = False  # some vocabularies have one id for bos, eos and pad
    return Plan(Rules(banned, limit, least, eos, pad), T, V, logits.dtype, weights)


def whole(
    name: str, value: Any, least: int, most: int | None = None, what: str = ""
) -> int:
    """Returns `value` as an int between `least` and `most`."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name}: expected a Python int, got {type(value).__name__} "
            "(it is static: bind it outside jax.jit)"
        ) from None
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{name}: expected at most {most} ({what}), got {value}")
    return value


def log_normaliser(logits: Float[Array, "... V"]) -> Float[Array, "..."]:
    """Log-sum-exp over the vocabulary; 0 where every logit is -inf."""
    total = jax.nn.logsumexp(logits, axis=-1)
    return jnp.where(total > -jnp.inf, total, 0)


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
    limit = jnp.asarray(max_length)
    if not jnp.issubdtype(limit.dtype, jnp.integer):
        raise TypeError(
            f"max_length: expected int values, got {limit.dtype} (use astype)"
        )
    if limit.shape != (B,):
        raise ValueError(
            f"max_length: expected shape [{B}], got {list(limit.shape)} "
            "(one length per row, or one int for all)"
        )
    return jnp.clip(limit, 0, T).astype(jnp.int32), T


def _signature(step: Step, carry: Any, B: int) -> tuple[Any, Any]:
    """Returns the shapes of logits and weights; checks that `step` is a step."""
    carry = jax.tree.map(jnp.asarray, carry)
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        if leaf.shape[:1] != (B,):
            name = "carry" + jax.tree_util.keystr(path)
            raise ValueError(
                f"{name}: expected a leading axis of batch_size = {B}, got shape "
                f"{list(leaf.shape)} (every leaf of a carry has one entry per row)"
            )
    token = jax.ShapeDtypeStruct((B,), jnp.int32)
    out = jax.eval_shape(step, carry, token)
    if not isinstance(out, tuple) or len(out) != 3:
        got = f"{len(out)} values" if isinstance(out, tuple) else type(out).__name__
        raise ValueError(
            f"step: expected (carry, logits, weights), got {got} "
            "(a model without attention returns weights of zeros, shape [B, S])"
        )
    after, logits, weights = out
    _check_same(carry, after)
    for name, axis, x in (("logits", "V", logits), ("weights", "S", weights)):
        if x.ndim != 2 or x.shape[0] != B:
            raise ValueError(
                f"step: expected {name} of shape [{B}, {axis}], "
                f"got {list(x.shape)} (one token per row and step)"
            )
    return _at_least_float32(logits), _at_least_float32(weights)


def _check_same(before: Any, after: Any) -> None:
    """Checks that a step hands on a carry like the one it was given."""

    def describe(x: Any) -> str:
        return f"{x.dtype}{list(x.shape)}"

    was, now = jax.tree.map(describe, before), jax.tree.map(describe, after)
    if was != now:
        raise ValueError(
            f"carry: expected step to return one like {was}, got {now} "
            "(structure, shapes and dtypes must not change while decoding)"
        )


def _at_least_float32(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, accumulation_dtype(x.dtype))
