"""Attention weights: normalised scores, 0 where masked.

Every function has one signature, `(scores, mask) -> weights`, over the last
axis, so that one can stand for another in `attend`. A row with nothing to
attend to has weights 0 and gradient 0; it is never NaN and never uniform over
padding. All compute in at least float32 and return the dtype of `scores`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def masked_softmax(
    scores: Float[Array, "*B S"], mask: Bool[Array, "*B S"] | None = None
) -> Float[Array, "*B S"]:
    r"""Normalises scores exponentially over the positions where `mask` is True.

    .. math:: a_j = \frac{\exp e_j}{\sum_k \exp e_k}

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), eq. 6.

    Args:
      scores: unnormalised match, shape [..., S].
      mask: True = attend, shape [..., S]; None attends everywhere.

    Returns:
      Weights, shape [..., S]; each row sums to 1, or is 0 where nothing is
      attended to.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `mask` is not boolean.

    Example:
      >>> masked_softmax(jnp.zeros(3), jnp.array([True, True, False]))
      Array([0.5, 0.5, 0. ], dtype=float32)
    """
    floored, _ = _prepare(scores, mask)
    return _softmax(floored).astype(scores.dtype)


@jax.custom_jvp
def _softmax(floored: Array) -> Array:
    """Softmax of what `_prepare` returns: masked positions, at the floor, get 0."""
    # The mask is folded into the scores instead of a second argument: custom_jvp fails
    # on a NumPy array that is closed over under `jit` and mapped by `vmap`.
    likelihood = jnp.exp(floored - _peak(floored))
    unnormalised = jnp.where(floored == _low(floored), 0, likelihood)
    total = jnp.sum(unnormalised, axis=-1, keepdims=True)
    return unnormalised / jnp.where(total > 0, total, 1)


@_softmax.defjvp
def _softmax_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    # Written by hand, the backward pass saves the weights only.
    weights = _softmax(*primals)
    weighted = weights * tangents[0]
    return weights, weighted - weights * weighted.sum(axis=-1, keepdims=True)


@shaped
def softmax_with_sink(
    scores: Float[Array, "*B S"],
    mask: Bool[Array, "*B S"] | None = None,
    *,
    sink: Float[Array, ""],
) -> Float[Array, "*B S"]:
    r"""Normalises scores together with a sink: a score that has no value.

    .. math:: a_j = \frac{\exp e_j}{\exp e_0 + \sum_k \exp e_k}

    A query that matches no key gives its weight to the sink instead of to a key. Bind
    the sink of each head with `functools.partial`.

    Source: Xiao et al. 2024 (arXiv:2309.17453), section 3.3 and its eq. 2, where e_0 is
    0 ("softmax-off-by-one"); a learned e_0: OpenAI 2025 (arXiv:2508.10925), section 2.

    Args:
      scores: unnormalised match, shape [..., S].
      mask: True = attend, shape [..., S]; None attends everywhere.
      sink: e_0, the score of the sink, shape []; -inf disables it.

    Returns:
      Weights, shape [..., S]; each row sums to 1 minus the weight of the sink,
      or is 0 where nothing is attended to.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `mask` is not boolean.

    Example:
      >>> softmax_with_sink(jnp.zeros(3), sink=jnp.zeros(()))
      Array([0.25, 0.25, 0.25], dtype=float32)
    """
    floored, mask = _prepare(scores, mask)
    sink = sink.astype(floored.dtype)
    peak = jnp.maximum(_peak(floored), jax.lax.stop_gradient(sink))
    unnormalised = jnp.where(mask, jnp.exp(floored - peak), 0)
    total = jnp.sum(unnormalised, axis=-1, keepdims=True) + jnp.exp(sink - peak)
    return (unnormalised / jnp.where(total > 0, total, 1)).astype(scores.dtype)


@shaped
def sparsemax(
    scores: Float[Array, "*B S"], mask: Bool[Array, "*B S"] | None = None
) -> Float[Array, "*B S"]:
    r"""Projects scores onto the simplex: like softmax, but most weights are exactly 0.

    .. math:: a = \arg\min_{p \in \Delta} \lVert p - e \rVert^2
              \;\Rightarrow\; a_j = \max(e_j - \tau, 0)

    The gradient is the exact one: on the support, the cotangent minus its mean.

    Source: Martins & Astudillo 2016 (arXiv:1602.02068), algorithm 1.

    Args:
      scores: unnormalised match, shape [..., S].
      mask: True = attend, shape [..., S]; None attends everywhere.

    Returns:
      Weights, shape [..., S]; each row sums to 1, or is 0 where nothing is
      attended to.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `mask` is not boolean.

    Example:
      >>> sparsemax(jnp.array([1.0, 0.5, -1.0]))
      Array([0.75, 0.25, 0.  ], dtype=float32)
    """
    floored, mask = _prepare(scores, mask)
    constant, peak = jax.lax.stop_gradient(floored), _peak(floored)
    # Scores more than 1 below the maximum get weight 0. Clipping them at -2 changes
    # no weight and keeps the sums small.
    shifted = jnp.where(mask, jnp.maximum(constant - peak, -2), -2)
    ordered = -jnp.sort(-shifted, axis=-1)
    rank = jnp.arange(1, scores.shape[-1] + 1, dtype=floored.dtype)
    in_support = 1 + rank * ordered > jnp.cumsum(ordered, axis=-1)
    size = jnp.sum(in_support, axis=-1, keepdims=True, dtype=floored.dtype)
    tau = (jnp.sum(jnp.where(in_support, ordered, 0), -1, keepdims=True) - 1) / (
        jnp.where(size > 0, size, 1)
    )
    support = mask & (shifted > tau)
    # With the support held constant the threshold is linear in the scores, so
    # autodiff of the lines below gives the projection's exact Jacobian.
    count = jnp.maximum(
        jnp.sum(support, axis=-1, keepdims=True, dtype=floored.dtype), 1
    )
    centred = jnp.where(support, floored - peak, 0)
    threshold = (jnp.sum(centred, axis=-1, keepdims=True) - 1) / count
    return jnp.where(support, centred - threshold, 0).astype(scores.dtype)


@shaped
def hardmax(
    scores: Float[Array, "*B S"], mask: Bool[Array, "*B S"] | None = None
) -> Float[Array, "*B S"]:
    r"""Puts all weight on the highest score; the first of equals wins.

    .. math:: a_j = [j = \arg\max_k e_k]

    Its gradient is 0: training through it needs another estimator.

    Source: the limit of softmax(e / t) for t to 0; Weston, Chopra & Bordes 2015
    (arXiv:1410.3916), eq. 2, attends to memory this way.

    Args:
      scores: unnormalised match, shape [..., S].
      mask: True = attend, shape [..., S]; None attends everywhere.

    Returns:
      Weights in {0, 1}, shape [..., S]; each row sums to 1, or is 0 where
      nothing is attended to.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `mask` is not boolean.

    Example:
      >>> hardmax(jnp.array([1.0, 3.0, 2.0]))
      Array([0., 1., 0.], dtype=float32)
    """
    if scores.shape[-1] == 0:  # argmax raises on an empty axis
        return scores
    floored, mask = _prepare(scores, mask)
    best = jnp.argmax(floored, axis=-1)
    one_hot = jax.nn.one_hot(best, scores.shape[-1], dtype=scores.dtype)
    return jnp.where(mask, one_hot, 0)


@shaped
def sigmoid(
    scores: Float[Array, "*B S"], mask: Bool[Array, "*B S"] | None = None
) -> Float[Array, "*B S"]:
    r"""Computes each weight independently; a row need not sum to 1.

    .. math:: a_j = \frac{1}{1 + \exp(-e_j)}

    Source: Ramapuram et al. 2024 (arXiv:2409.04431), eq. 3, there with a bias of
    -log S in the scores, which the caller adds.

    Args:
      scores: unnormalised match, shape [..., S].
      mask: True = attend, shape [..., S]; None attends everywhere.

    Returns:
      Weights in [0, 1], shape [..., S].

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `mask` is not boolean.

    Example:
      >>> sigmoid(jnp.array([0.0, 100.0]))
      Array([0.5, 1. ], dtype=float32)
    """
    floored, mask = _prepare(scores, mask)
    return jnp.where(mask, jax.nn.sigmoid(floored), 0).astype(scores.dtype)


@shaped
def unnormalised(
    scores: Float[Array, "*B S"], mask: Bool[Array, "*B S"] | None = None
) -> Float[Array, "*B S"]:
    r"""Takes the scores themselves as weights; a row need not sum to 1.

    .. math:: a_j = e_j

    Source: Sukhbaatar et al. 2015 (arXiv:1503.08895), section 4.2, "linear start": the
    softmax is left out until the training has found its way.

    Args:
      scores: unnormalised match, shape [..., S].
      mask: True = attend, shape [..., S]; None attends everywhere.

    Returns:
      Weights of any sign and size, shape [..., S]; 0 where masked.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `mask` is not boolean.

    Example:
      >>> unnormalised(jnp.array([2.0, -3.0]), jnp.array([True, False]))
      Array([2., 0.], dtype=float32)
    """
    return scores if mask is None else jnp.where(mask, scores, 0)


def _low(floored: Array) -> Any:
    """A finite floor for masked scores: (-inf) - (-inf) is NaN in an empty row."""
    return jnp.finfo(floored.dtype).min


def _peak(floored: Array) -> Array:
    """The maximum of each row, without gradient: subtracting it changes no weights."""
    constant = jax.lax.stop_gradient(floored)
    return jnp.max(constant, axis=-1, keepdims=True, initial=_low(floored))


def _prepare(scores: Array, mask: Array | None) -> tuple[Array, Array]:
    """Scores upcast to at least float32, at the floor where masked, and the mask."""
    upcast = precision.upcast(scores)
    mask = jnp.ones(scores.shape, bool) if mask is None else mask
    return jnp.where(mask, upcast, _low(upcast)), mask
