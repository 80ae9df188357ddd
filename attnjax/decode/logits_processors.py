"""Logits processors that restrict sampling: top-k, top-p (nucleus) and min-p.

Each function sets the logits of the other ids to -inf, along the last axis. At least
the most likely id is kept. Logits that are kept do not change, so a softmax
renormalises their probabilities.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attnjax.core._checks import shaped, static_int
from attnjax.core.precision import upcast
from attnjax.decode.arguments import check_scalar, int32_array
from attnjax.decode.contract import log_normaliser
from attnjax.decode.selection import top_k


@shaped
def keep_top_k(
    logits: Float[Array, "... V"], k: int | Int[Array, ""]
) -> Float[Array, "... V"]:
    """Keeps the `k` most likely ids.

    Source: Fan et al. 2018 (arXiv:1805.04833), section 5.4.

    Args:
      logits: shape [..., V].
      k: at least 1 and at most V. A Python int is faster; an array is clipped to
        this range. Of equal logits those with the smaller id are kept.

    Returns:
      Logits, shape [..., V], -inf where an id is not kept.

    Raises:
      ValueError: if `k` is out of range.
      TypeError: if `k` is not an int.

    Example:
      >>> keep_top_k(jnp.array([2.0, 3.0, 1.0, 2.0]), 2)
      Array([  2.,   3., -inf, -inf], dtype=float32)
    """
    V = logits.shape[-1]
    count = _count("k", k, V)
    if isinstance(count, int):
        return _mask_others(logits, top_k(logits, count)[1], jnp.ones(count, bool))
    _, ids = lax.top_k(logits, V)
    kept = jnp.arange(V, dtype=count.dtype) < jnp.maximum(count, 1)
    return _mask_others(logits, ids, kept)


@shaped
def keep_top_p(
    logits: Float[Array, "... V"], p: float | Float[Array, ""]
) -> Float[Array, "... V"]:
    r"""Keeps the nucleus: the fewest ids whose total probability reaches `p`.

    .. math:: \min |V_p| \quad \text{such that} \quad \sum_{y \in V_p} p(y) \ge p

    Source: Holtzman et al. 2020 (arXiv:1904.09751), eq. 2.

    Args:
      logits: shape [..., V].
      p: in (0, 1]; 1 keeps every id. An array may hold any value: above 1 keeps
        every id, and at most 0 keeps the most likely one.

    Returns:
      Logits, shape [..., V], -inf where an id is not kept.

    Raises:
      ValueError: if `p` is out of range.

    Example:
      >>> keep_top_p(jnp.log(jnp.array([0.2, 0.5, 0.3])), 0.6) > -jnp.inf
      Array([False,  True,  True], dtype=bool)
    """
    _check_top_p("p", p)
    if not isinstance(p, jax.Array) and p == 1:
        return logits
    values, ids = lax.top_k(upcast(logits), logits.shape[-1])
    probabilities = jnp.exp(values - log_normaliser(values)[..., None])
    preceding = jnp.cumsum(probabilities, axis=-1) - probabilities
    p = jnp.asarray(p, values.dtype)
    # A sum that reaches p exactly may be rounded to just below it, and one id too many
    # would be kept. Sums within some roundings of p count as reaching it.
    below = preceding < p - 8 * jnp.finfo(values.dtype).eps
    first = jnp.arange(logits.shape[-1]) == 0
    return _mask_others(logits, ids, below | first | (p >= 1))


@shaped
def keep_min_p(
    logits: Float[Array, "... V"], p: float | Float[Array, ""]
) -> Float[Array, "... V"]:
    r"""Keeps ids with at least `p` times the probability of the most likely id.

    .. math:: V_p = \{y : p(y) \ge p \max_{y'} p(y')\}

    Source: Nguyen et al. 2024 (arXiv:2407.01082), section 3.

    Args:
      logits: shape [..., V].
      p: in [0, 1]; 0 keeps every id, 1 the most likely one.

    Returns:
      Logits, shape [..., V], -inf where an id is not kept.

    Raises:
      ValueError: if `p` is out of range.

    Example:
      >>> keep_min_p(jnp.log(jnp.array([0.2, 0.5, 0.3])), 0.5) > -jnp.inf
      Array([False,  True,  True], dtype=bool)
    """
    _check_min_p("p", p)
    if not isinstance(p, jax.Array) and p == 0:
        return logits
    x = upcast(logits)
    log_p = jnp.log(jnp.clip(jnp.asarray(p, x.dtype), 0, 1))
    return jnp.where(x >= x.max(axis=-1, keepdims=True) + log_p, logits, -jnp.inf)


def warp_logits(
    logits: Float[Array, "... V"],
    *,
    temperature: float | Float[Array, ""],
    top_k: int | Int[Array, ""] | None,
    top_p: float | Float[Array, ""],
    min_p: float | Float[Array, ""],
) -> Float[Array, "... V"]:
    """Applies temperature, top-k, top-p and min-p, in this order.

    The logits are shifted so that the highest is 0, which changes no probability. So
    the smallest temperature gives the most likely id, and an infinite one the uniform
    distribution.

    Example:
      >>> logits = jnp.log(jnp.array([0.1, 0.4, 0.3, 0.2]))
      >>> options = {"temperature": 1.0, "top_k": 3, "top_p": 0.7, "min_p": 0.0}
      >>> warp_logits(logits, **options) > -jnp.inf
      Array([False,  True,  True, False], dtype=bool)
    """
    logits = _divide(logits, temperature)
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    return keep_min_p(keep_top_p(logits, top_p), min_p)


def _divide(logits: Array, temperature: Any) -> Array:
    """Divides logits by the temperature, without overflow at either end."""
    if not isinstance(temperature, jax.Array) and temperature == 1:
        return logits
    tiny = jnp.finfo(logits.dtype).tiny
    divisor = jnp.maximum(jnp.asarray(temperature, logits.dtype), tiny)
    peak = logits.max(axis=-1, keepdims=True)
    # -inf is a suppressed id, whatever the temperature.
    shifted = logits - jnp.where(jnp.isfinite(peak), peak, 0)
    return jnp.where(logits == -jnp.inf, logits, shifted / divisor)


def check_warp_arguments(
    V: int, *, temperature: Any, top_k: Any, top_p: Any, min_p: Any
) -> None:
    """Checks the arguments of `warp_logits`, under the names that `sample` uses."""
    hint = "for the most likely tokens call greedy"
    check_scalar("temperature", temperature, lambda x: x > 0, "a positive number", hint)
    if top_k is not None:
        _count("top_k", top_k, V)
    _check_top_p("top_p", top_p)
    _check_min_p("min_p", min_p)


def _count(name: str, k: Any, V: int) -> int | Int[Array, ""]:
    if isinstance(k, jax.Array):
        return int32_array(name, k, (), "it is the same for all rows")
    return static_int(name, k, 1, V, "the vocabulary")


def _check_top_p(name: str, p: Any) -> None:
    expected, hint = "more than 0 and at most 1", "1 keeps every id"
    check_scalar(name, p, lambda x: 0 < x <= 1, expected, hint)


def _check_min_p(name: str, p: Any) -> None:
    expected, hint = "from 0 to 1", "0 keeps every id"
    check_scalar(name, p, lambda x: 0 <= x <= 1, expected, hint)


def _mask_others(
    logits: Float[Array, "... V"], ids: Int[Array, "... K"], kept: Bool[Array, "... K"]
) -> Float[Array, "... V"]:
    """Returns the logits with -inf at all ids but those that are kept."""
    values = jnp.take_along_axis(logits, ids, axis=-1)
    values = jnp.where(kept, values, -jnp.inf)
    masked = jnp.full_like(logits, -jnp.inf)
    return jnp.put_along_axis(masked, ids, values, axis=-1, inplace=False)
