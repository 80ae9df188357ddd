"""Attention of this library in place of flax's, inside `MultiHeadAttention`."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import DTypeLike

from attnjax.core import context, masks, scores, weights
from attnjax.core.attend import Score, Weighting, attend_heads


def attention_fn(
    *, score: Score = scores.scaled_dot, weighting: Weighting = weights.masked_softmax
) -> Callable[..., Array]:
    """Makes an `attention_fn` for flax's `MultiHeadAttention`, of nnx or linen.

    It takes every argument of `nnx.dot_product_attention`, by keyword after the values,
    and gives the same numbers where score and weighting are the defaults; a query
    with nothing to attend to gets 0. Use `attend_heads` for the weights.

    Args:
      score: maps one query and its keys to scores [S].
      weighting: maps scores and mask to weights [S].

    Returns:
      A function of (query, key, value, *, bias=None, mask=None, ...) that gives
      contexts [..., T, H, E]. A mask is boolean, or of the zeros and ones that flax's
      mask helpers return; where other numbers are traced, the contexts are NaN.

    Raises (when called):
      ValueError: if shapes disagree, the mask has numbers other than 0 and 1 (an
        additive mask is a `bias`), or dropout has no random key.
      TypeError: if an argument is unknown.

    Example:
      >>> x = jnp.ones((1, 2, 4, 3))
      >>> attention_fn()(x, x, x, is_causal=True).shape
      (1, 2, 4, 3)
    """

    def attention(
        query: Array,
        key: Array,
        value: Array,
        *,
        bias: Array | None = None,
        mask: Array | None = None,
        broadcast_dropout: bool = True,
        dropout_rng: Array | None = None,
        dropout_rate: float = 0.0,
        deterministic: bool = False,
        dtype: DTypeLike | None = None,
        precision: Any = None,
        module: Any = None,
        promote_dtype: Callable[..., Sequence[Array]] = nnx.nn.dtypes.promote_dtype,
        is_causal: bool = False,
    ) -> Array:
        query, key, value = promote_dtype((query, key, value), dtype=dtype)
        mask, valid = _boolean(mask)
        if is_causal:
            mask = _and_causal(mask, query.shape[-3], key.shape[-3])
        with _matmul_precision(precision):
            found = attend_heads(
                query,
                key,
                value,
                mask=mask,
                bias=bias,
                score=score,
                weighting=weighting,
            )
            if module is not None:
                _sow(module, found.weights)
            contexts = found.context
            if dropout_rate and not deterministic:
                drop = _drop(dropout_rng, dropout_rate, broadcast_dropout)
                contexts = _contexts(drop(found.weights), value)
        return contexts if valid is None else jnp.where(valid, contexts, jnp.nan)

    return attention


def _boolean(mask: Array | None) -> tuple[Array | None, Array | None]:
    """The mask as booleans; and whether it was of zeros and ones, where unknown yet.

    flax's mask helpers, and its decoding with a cache, make float masks of 0 and 1.
    """
    if mask is None or mask.dtype == bool:
        return mask, None
    valid = ((mask == 0) | (mask == 1)).all()
    if isinstance(valid, jax.core.Tracer):
        return mask == 1, valid
    if not valid:
        raise ValueError(
            f"mask: expected booleans, or numbers 0 and 1, got {mask.dtype} from "
            f"{np.min(mask)} to {np.max(mask)} (True = attend; what is added to the "
            "scores, such as 0 and -1e9, is `bias`)"
        )
    return mask == 1, None


def _and_causal(mask: Array | None, T: int, S: int) -> Array:
    """The mask, and query i attends to keys up to i, as in flax."""
    causal = masks.causal(jnp.arange(T), jnp.arange(S))
    return causal if mask is None else mask & causal


def _matmul_precision(precision: Any) -> Any:
    """The context in which every product is traced with a `jax.lax.Precision`."""
    if precision is None:
        return contextlib.nullcontext()
    if isinstance(precision, tuple | list):
        if len(set(precision)) > 1:
            raise ValueError(
                f"precision: expected one for both operands, got {precision}"
            )
        precision = precision[0]
    name = precision if isinstance(precision, str) else precision.name.lower()
    return jax.default_matmul_precision(name)


def _sow(module: Any, found: Array) -> None:
    """Sows the weights as flax does: by type in nnx, by name in linen."""
    kind: Any = nnx.Intermediate if isinstance(module, nnx.Module) else "intermediates"
    module.sow(kind, "attention_weights", found)


def _drop(rng: Array | None, rate: float, broadcast: bool) -> Callable[[Array], Array]:
    """Dropout of weights [..., T, S]: drawn as flax draws it."""
    if rng is None:
        raise ValueError(
            f"dropout_rng: expected a random key, got None (dropout_rate is {rate}; "
            "pass deterministic=True to leave dropout out)"
        )

    def drop(found: Array) -> Array:
        # Broadcast, one draw serves all rows and heads.
        ones = (1,) * (found.ndim - 2) if broadcast else found.shape[:-2]
        keep = jax.random.bernoulli(rng, 1 - rate, (*ones, *found.shape[-2:]))
        return jnp.where(keep, found / (1 - rate), 0).astype(found.dtype)

    return drop


def _contexts(given: Array, values: Array) -> Array:
    """Contexts [..., T, H, E] of weights [..., H, T, S] and values [..., S, N, E]."""
    *leading, H, T, S = given.shape
    N, E = values.shape[-2:]
    given = given.reshape(*leading, N, H // N, T, S)  # [..., H, T, S], H = N * G
    read = jax.vmap(context.read, (0, None))  # [T, S], [S, E] -> [T, E]
    read = jax.vmap(read, (0, None), 1)  # [G, T, S], [S, E] -> [T, G, E]
    read = jax.vmap(read, (0, 1), 1)  # [N, G, T, S], [S, N, E] -> [T, N, G, E]
    for _ in leading:
        read = jax.vmap(read)
    # [..., T, N, G, E] -> [..., T, H, E]
    return read(given, values).reshape(*leading, T, H, E)
