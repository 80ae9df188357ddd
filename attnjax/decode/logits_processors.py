"""Logits processors of sampling: temperature, top-k, top-p and min-p.

Each function maps logits to logits along the last axis; those of dropped ids become
-inf. The most probable id is always kept, and kept logits do not change, so a softmax
renormalises the probabilities that are left.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.core._checks import shaped
from attnjax.core.precision import upcast
from attnjax.decode.arguments import as_int_array, check_int, check_number
from attnjax.decode.contract import log_normaliser
from attnjax.decode.selection import top_k


@shaped
def keep_top_k(
    logits: Float[Array, "... V"], k: int | Int[Array, ""]
) -> Float[Array, "... V"]:
    """Keeps the `k` most probable ids.

    Source: Fan et al. 2018 (arXiv:1805.04833), section 5.4.

    Args:
      logits: shape [..., V].
      k: at least 1 and at most V. A Python int is faster; an array is held to
        these bounds. Of equal logits those with the smaller id are kept.

    Returns:
      Logits, shape [..., V], -inf where an id is not kept.

    Raises:
      ValueError: if `k` is not within its bounds.
      TypeError: if `k` is no whole number.

    Example:
      >>> keep_top_k(jnp.array([2.0, 3.0, 1.0, 2.0]), 2)
      Array([  2.,   3., -inf, -inf], dtype=float32)
    """
    V = logits.shape[-1]
    count = _count("k", k, V)
    if isinstance(count, int):
        return _only(logits, top_k(logits, count)[1], jnp.ones(count, bool))
    _, ids = lax.top_k(logits, V)
    kept = jnp.arange(V, dtype=count.dtype) < jnp.maximum(count, 1)
    return _only(logits, ids, kept)


@shaped
def keep_top_p(
    logits: Float[Array, "... V"], p: float | Float[Array, ""]
) -> Float[Array, "... V"]:
    r"""Keeps the nucleus: the fewest ids that have probability `p` together.

    .. math:: \min |V_p| \quad \text{such that} \quad \sum_{y \in V_p} p(y) \ge p

    Source: Holtzman et al. 2020 (arXiv:1904.09751), eq. 2.

    Args:
      logits: shape [..., V].
      p: in (0, 1]; 1 keeps every id. Of an array, what is above counts as 1, and
        what is below keeps the most probable id.

    Returns:
      Logits, shape [..., V], -inf where an id is not kept.

    Raises:
      ValueError: if `p` is not within its bounds.

    Example:
      >>> keep_top_p(jnp.log(jnp.array([0.2, 0.5, 0.3])), 0.6) > -jnp.inf
      Array([False,  True,  True], dtype=bool)
    """
    _check_top_p("p", p)
    if not isinstance(p, jax.Array) and p == 1:
        return logits
    values, ids = lax.top_k(upcast(logits), logits.shape[-1])
    probabilities = jnp.exp(values - log_normaliser(values)[..., None])
    likelier = jnp.cumsum(probabilities, axis=-1) - probabilities
    p = jnp.asarray(p, values.dtype)
    first = jnp.arange(logits.shape[-1]) == 0
    return _only(logits, ids, (likelier < p) | first | (p >= 1))


@shaped
def keep_min_p(
    logits: Float[Array, "... V"], p: float | Float[Array, ""]
) -> Float[Array, "... V"]:
    r"""Keeps ids at least `p` times as probable as the most probable one.

    .. math:: V_p = \{y : p(y) \ge p \max_{y'} p(y')\}

    Source: Nguyen et al. 2024 (arXiv:2407.01082), section 3.

    Args:
      logits: shape [..., V].
      p: in [0, 1]; 0 keeps every id, 1 the most probable.

    Returns:
      Logits, shape [..., V], -inf where an id is not kept.

    Raises:
      ValueError: if `p` is not within its bounds.

    Example:
      >>> keep_min_p(jnp.log(jnp.array([0.2, 0.5, 0.3])), 0.5) > -jnp.inf
      Array([False,  True,  True], dtype=bool)
    """
    _check_min_p("p", p)
    if not isinstance(p, jax.Array) and p == 0:
        return logits
    x = upcast(logits)
    share = jnp.log(jnp.clip(jnp.asarray(p, x.dtype), 0, 1))
    return jnp.where(x >= x.max(axis=-1, keepdims=True) + share, logits, -jnp.inf)


def process_logits(
    logits: Float[Array, "... V"],
    *,
    temperature: float | Float[Array, ""],
    top_k: int | Int[Array, ""] | None,
    top_p: float | Float[Array, ""],
    min_p: float | Float[Array, ""],
) -> Float[Array, "... V"]:
    """Divides by the temperature, then keeps top-k, of these top-p, of these min-p.

    Example:
      >>> logits = jnp.log(jnp.array([0.1, 0.4, 0.3, 0.2]))
      >>> options = {"temperature": 1.0, "top_k": 3, "top_p": 0.7, "min_p": 0.0}
      >>> process_logits(logits, **options) > -jnp.inf
      Array([False,  True,  True, False], dtype=bool)
    """
    logits = logits / jnp.asarray(temperature, logits.dtype)
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    return keep_min_p(keep_top_p(logits, top_p), min_p)


def check_sampling_options(
    V: int, *, temperature: Any, top_k: Any, top_p: Any, min_p: Any
) -> None:
    """Checks the options of `process_logits`, by their names in `sample`."""
    check_number(
        "temperature",
        temperature,
        lambda x: x > 0,
        "a positive number",
        "for the most probable tokens call greedy",
    )
    if top_k is not None:
        _count("top_k", top_k, V)
    _check_top_p("top_p", top_p)
    _check_min_p("min_p", min_p)


def _count(name: str, k: Any, V: int) -> int | Int[Array, ""]:
    if isinstance(k, jax.Array):
        return as_int_array(name, k, (), "it is the same for all rows")
    return check_int(name, k, 1, V, "the vocabulary")


def _check_top_p(name: str, p: Any) -> None:
    expected, hint = "more than 0 and at most 1", "1 keeps every id"
    check_number(name, p, lambda x: 0 < x <= 1, expected, hint)


def _check_min_p(name: str, p: Any) -> None:
    expected, hint = "from 0 to 1", "0 keeps every id"
    check_number(name, p, lambda x: 0 <= x <= 1, expected, hint)


def _only(
    logits: Float[Array, "... V"], ids: Int[Array, "... K"], kept: Bool[Array, "... K"]
) -> Float[Array, "... V"]:
    """Returns the logits with -inf at all but the ids that are kept."""
    values = jnp.take_along_axis(logits, ids, axis=-1)
    values = jnp.where(kept, values, -jnp.inf)
    nothing = jnp.full_like(logits, -jnp.inf)
    return jnp.put_along_axis(nothing, ids, values, axis=-1, inplace=False)
