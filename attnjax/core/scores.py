"""Alignment scores: how well one query matches each key.

Every function maps one query and its keys to one score per key. Projections
into a shared space belong to the caller, so that keys are projected once per
source; batches, heads and target positions are `jax.vmap`. Scores are
unnormalised and know no masks; `weights` applies masks and normalises. They are in at
least float32, whatever the inputs: rounded to bfloat16 before a softmax, they would
double the error of the weights.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def additive(
    query: Float[Array, "A"], keys: Float[Array, "S A"], v: Float[Array, "A"]
) -> Float[Array, "S"]:
    r"""Scores keys with a one-layer tanh network.

    .. math:: e_j = v^\top \tanh(q + k_j)

    with q = W_a s_{i-1} and k_j = U_a h_j projected by the caller, so that the
    keys are projected once per source rather than once per target step.

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A.1.2.

    Args:
      query: projected decoder state, shape [A].
      keys: projected source states, shape [S, A].
      v: scoring vector, shape [A].

    Returns:
      Scores, shape [S], in at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> keys = jnp.array([[1.0, 0.0], [0.0, 2.0]])
      >>> additive(jnp.zeros(2), keys, v=jnp.ones(2))  # doctest: +ELLIPSIS
      Array([0.761..., 0.964...], dtype=float32)
    """
    return precision.matmul(jnp.tanh(query + keys), v, upcast_result=True)


@shaped
def dot(query: Float[Array, "D"], keys: Float[Array, "S D"]) -> Float[Array, "S"]:
    r"""Scores keys by their inner product with the query.

    .. math:: e_j = q^\top k_j

    Source: Luong, Pham & Manning 2015 (arXiv:1508.04025), eq. 8, "dot".

    Args:
      query: shape [D].
      keys: shape [S, D].

    Returns:
      Scores, shape [S], in at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> dot(jnp.array([2.0, 1.0]), jnp.eye(2))
      Array([2., 1.], dtype=float32)
    """
    # Query first: vmapped over targets, this is the dot Q K' without a transpose.
    return precision.matmul(query, keys.T, upcast_result=True)


@shaped
def scaled_dot(
    query: Float[Array, "D"], keys: Float[Array, "S D"]
) -> Float[Array, "S"]:
    r"""Scores keys by their inner product with the query, divided by sqrt(D).

    .. math:: e_j = q^\top k_j / \sqrt{D}

    The scale keeps the variance of a score at 1 when the components of query
    and key are independent with variance 1.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), eq. 1.

    Args:
      query: shape [D].
      keys: shape [S, D].

    Returns:
      Scores, shape [S], in at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> scaled_dot(jnp.array([2.0, 1.0, 0.0, 0.0]), jnp.eye(4))
      Array([1. , 0.5, 0. , 0. ], dtype=float32)
    """
    return dot(query, keys) * query.shape[-1] ** -0.5


@shaped
def cosine(query: Float[Array, "D"], keys: Float[Array, "S D"]) -> Float[Array, "S"]:
    r"""Scores keys by the cosine of their angle with the query.

    .. math:: e_j = \frac{q^\top k_j}{\lVert q\rVert \, \lVert k_j\rVert}

    A zero vector has no direction: its score, and its gradient, is 0.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eq. 6.

    Args:
      query: shape [D]; the "key" of the paper.
      keys: shape [S, D]; rows of the paper's memory.

    Returns:
      Scores in [-1, 1], shape [S], in at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> cosine(jnp.array([3.0, 0.0]), jnp.array([[2.0, 0.0], [0.0, 0.0]]))
      Array([1., 0.], dtype=float32)
    """
    dtype = precision.accumulation_dtype(precision.promoted(query, keys))
    # Rounded to bfloat16, a unit vector would not have length 1.
    # Transposed, a key runs along the first axis, and what is computed of each of them
    # along the last one, where XLA:CPU vectorises it.
    return _cosine(*precision.same_devices((query.astype(dtype), keys.T.astype(dtype))))


@jax.custom_jvp
def _cosine(query: Array, columns: Array) -> Array:
    """The score of each column, [D], [D, S] -> [S], as products of unit vectors."""
    return precision.matmul(_unit(query)[0], _unit(columns)[0])


@_cosine.defjvp
def _cosine_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    # Written by hand, the backward pass saves unit vectors and norms only. A vector's
    # length changes no angle: of its tangent only the part across it counts.
    (q, q_inverse), (k, k_inverse) = map(_unit, primals)
    d_q, d_k = tangents
    cosines = precision.matmul(q, k)
    across_k = precision.matmul(q, d_k) - cosines * jnp.sum(k * d_k, axis=0)
    across_q = precision.matmul(d_q, k) - cosines * jnp.sum(q * d_q)
    return cosines, across_k * k_inverse + across_q * q_inverse


def _unit(x: Float[Array, "D *S"]) -> tuple[Array, Array]:
    """Vectors of length 1 along the first axis and one over the lengths that they had.

    Zero vectors stay zero, and get 0 for one over their length.
    """
    # Dividing by the largest component first keeps the squares from overflowing or
    # underflowing, so tiny vectors keep their direction.
    largest = jnp.max(jnp.abs(x), axis=0)
    scale = jnp.where(largest > 0, largest, 1)
    y = x / scale
    square = jnp.sum(y * y, axis=0)
    root = jnp.sqrt(jnp.where(square > 0, square, 1))
    smallest = jnp.finfo(x.dtype).tiny  # what is smaller has no finite inverse
    inverse = jnp.where(largest > 0, 1 / jnp.maximum(scale, smallest), 0)
    return y / root, inverse / root


@shaped
def bilinear(
    query: Float[Array, "D"], keys: Float[Array, "S E"], matrix: Float[Array, "D E"]
) -> Float[Array, "S"]:
    r"""Scores keys through a learned matrix.

    .. math:: e_j = q^\top W k_j

    The query is projected, not the keys: O(D E) for any number of keys.

    Source: Luong, Pham & Manning 2015 (arXiv:1508.04025), eq. 8, "general".

    Args:
      query: shape [D].
      keys: shape [S, E].
      matrix: W, shape [D, E].

    Returns:
      Scores, shape [S], in at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> bilinear(jnp.ones(2), jnp.eye(3), matrix=jnp.arange(6.0).reshape(2, 3))
      Array([3., 5., 7.], dtype=float32)
    """
    return dot(precision.matmul(query, matrix), keys)


@shaped
def concat(
    query: Float[Array, "D"],
    keys: Float[Array, "S E"],
    matrix: Float[Array, "D+E A"],
    v: Float[Array, "A"],
) -> Float[Array, "S"]:
    r"""Scores keys with a tanh network on query and key side by side.

    .. math:: e_j = v^\top \tanh(W [q; k_j])

    The same family as `additive`, to which the caller passes both projections; here
    the keys are projected at every call.

    Source: Luong, Pham & Manning 2015 (arXiv:1508.04025), eq. 8, "concat".

    Args:
      query: shape [D].
      keys: shape [S, E].
      matrix: W, shape [D + E, A]; its first D rows meet the query.
      v: scoring vector, shape [A].

    Returns:
      Scores, shape [S], in at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> keys, matrix = jnp.zeros((2, 1)), jnp.ones((2, 1))
      >>> concat(jnp.ones(1), keys, matrix, v=jnp.ones(1))  # doctest: +ELLIPSIS
      Array([0.761..., 0.761...], dtype=float32)
    """
    split = query.shape[-1]
    projected = precision.matmul(query, matrix[:split])
    return additive(projected, precision.matmul(keys, matrix[split:]), v)


def softcap(score: Callable[..., Array], *, cap: float) -> Callable[..., Array]:
    r"""Bounds a score smoothly to (-c, c).

    .. math:: e'_j = c \tanh(e_j / c)

    Scores near 0 hardly change. Biases and masks are applied afterwards.

    Source: Gemma Team 2024 (arXiv:2408.00118), section 2, "logit soft-capping".

    Args:
      score: any score.
      cap: c; the paper uses 50 for attention.

    Returns:
      A score with the same arguments, in (-cap, cap).

    Raises:
      ValueError: if the cap is not positive.

    Example:
      >>> softcap(dot, cap=2.0)(jnp.array([100.0]), jnp.eye(1))
      Array([2.], dtype=float32)
    """
    if cap <= 0:
        raise ValueError(
            f"cap: expected a bound > 0, got {cap} (the paper uses 50 for attention)"
        )

    def capped_score(*args: Any) -> Array:
        return cap * jnp.tanh(precision.upcast(score(*args)) / cap)

    return capped_score
