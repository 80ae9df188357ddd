"""Losses, in nats."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def token_cross_entropy(
    logits: Float[Array, "*B V"], labels: Int[Array, "*B"], *, smoothing: float = 0.0
) -> Float[Array, "*B"]:
    r"""Measures how surprised the logits are by the labels.

    .. math:: -(1 - \epsilon) \log p_y - \frac{\epsilon}{V} \sum_k \log p_k

    Source: Szegedy et al. 2016 (arXiv:1512.00567), section 7, for the smoothing;
    with epsilon = 0 it is the negative log-likelihood.

    Args:
      logits: over a vocabulary, shape [..., V].
      labels: ids of the right tokens, shape [...].
      smoothing: epsilon, the share of the target spread over the vocabulary.

    Returns:
      Nats, shape [...], in at least float32.

    Raises:
      ValueError: if shapes disagree, or smoothing is outside [0, 1).
      TypeError: if labels are not integers.

    Example:
      >>> token_cross_entropy(jnp.zeros(4), jnp.array(2)).round(4)  # log 4
      Array(1.3863, dtype=float32)
    """
    _check_smoothing(smoothing)
    wide = precision.upcast(logits)
    log_total = jax.nn.logsumexp(wide, axis=-1)
    # A comparison, not a gather: its gradient is a select, not a scatter.
    is_label = jnp.arange(logits.shape[-1]) == labels[..., None]
    nats = log_total - jnp.sum(jnp.where(is_label, wide, 0), axis=-1)
    if smoothing == 0:
        return nats
    spread = log_total - jnp.mean(wide, axis=-1)
    return (1 - smoothing) * nats + smoothing * spread


@shaped
def linear_cross_entropy(
    x: Float[Array, "B T M"],
    matrix: Float[Array, "V M"],
    bias: Float[Array, "V"] | None,
    labels: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    *,
    smoothing: float = 0.0,
    chunk: int = 512,
) -> Float[Array, ""]:
    r"""Sums how surprised a linear output layer is by the labels.

    .. math:: \sum_{b,t} w_{bt}\, \ell(W x_{bt} + b, y_{bt})

    with `token_cross_entropy` as l. The logits are made, used and dropped a few
    positions at a time, and their gradient is taken while they are there: neither
    they nor it ever exist for all positions. Reverse-mode differentiation only.

    Args:
      x: what the logits are computed from, shape [B, T, M].
      matrix: W, shape [V, M].
      bias: b, shape [V]; None adds nothing.
      labels: ids of the right tokens, shape [B, T].
      weights: what each position counts, such as 0 for padding, shape [B, T].
      smoothing: as of `token_cross_entropy`.
      chunk: about how many positions have logits at a time.

    Returns:
      Nats, in at least float32.

    Raises:
      ValueError: if shapes disagree, smoothing is outside [0, 1), or chunk below 1.
      TypeError: if labels are not integers.

    Example:
      >>> x, W, labels = jnp.zeros((1, 2, 3)), jnp.zeros((4, 3)), jnp.array([[1, 2]])
      >>> linear_cross_entropy(x, W, None, labels, jnp.ones((1, 2))).round(4)  # 2 log 4
      Array(2.7726, dtype=float32)
    """
    _check_smoothing(smoothing)
    if chunk < 1:
        raise ValueError(f"chunk: expected at least 1 position, got {chunk}")
    dtype = precision.promoted(x, matrix)
    arrays = x.astype(dtype), matrix.astype(dtype), bias, weights
    arrays, labels = precision.same_devices((arrays, labels))
    return _linear_nats(*arrays, labels, smoothing, chunk)


def _check_smoothing(smoothing: float) -> None:
    if not 0 <= smoothing < 1:
        raise ValueError(
            f"smoothing: expected a share in [0, 1), got {smoothing} (the "
            "Transformer paper uses 0.1)"
        )


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _linear_nats(
    x: Array,
    matrix: Array,
    bias: Array | None,
    weights: Array,
    labels: Array,
    smoothing: float,
    chunk: int,
) -> Array:
    def add(total: Array, part: Any) -> tuple[Array, None]:
        x, weights, labels = part
        logits = _logits(x, matrix, bias)
        nats = token_cross_entropy(logits, labels, smoothing=smoothing)
        return total + jnp.sum(nats * weights), None

    nothing, _ = _nothing_yet(x, matrix)
    total, _ = lax.scan(add, nothing, _chunks((x, weights, labels), chunk))
    return total


def _linear_nats_forward(
    x: Array,
    matrix: Array,
    bias: Array | None,
    weights: Array,
    labels: Array,
    smoothing: float,
    chunk: int,
) -> tuple[Array, Any]:
    """Value and gradients at once: the backward pass has no logits to go back to."""
    V = matrix.shape[0]

    def add(sums: Any, part: Any) -> tuple[Any, Any]:
        total, d_matrix, d_bias = sums
        x, weights, labels = part
        logits = _logits(x, matrix, bias)
        nats = token_cross_entropy(logits, labels, smoothing=smoothing)
        is_label = jnp.arange(V) == labels[..., None]
        wanted = smoothing / V + jnp.where(is_label, 1 - smoothing, 0)
        slope = (jax.nn.softmax(logits) - wanted) * weights[..., None]
        narrow = slope.astype(x.dtype)
        d_matrix += precision.weight_gradient(narrow, x).astype(d_matrix.dtype)
        d_bias += slope.sum(axis=(0, 1))
        sums = total + jnp.sum(nats * weights), d_matrix, d_bias
        return sums, (precision.matmul(narrow, matrix), nats)

    nothing, zeros = _nothing_yet(x, matrix)
    sums, rows = lax.scan(
        add, (nothing, zeros, zeros[:, 0]), _chunks((x, weights, labels), chunk)
    )
    total, d_matrix, d_bias = sums
    d_x, nats = (_joined(row, x.shape[1]) for row in rows)
    slope_of_bias = None if bias is None else d_bias.astype(bias.dtype)
    slopes = d_x, d_matrix.astype(matrix.dtype), slope_of_bias
    return total, (*slopes, nats.astype(weights.dtype))


def _linear_nats_backward(
    smoothing: float, chunk: int, slopes: Any, g: Array
) -> tuple[Any, ...]:
    """Everything is linear in the gradient of the sum."""
    return *jax.tree.map(lambda slope: slope * g.astype(slope.dtype), slopes), None


_linear_nats.defvjp(_linear_nats_forward, _linear_nats_backward)


def _logits(x: Array, matrix: Array, bias: Array | None) -> Array:
    """Logits [B, t, V] in at least float32, however narrow what they are made of."""
    rows = x.reshape(-1, x.shape[-1])
    wide = precision.accumulation_dtype(x.dtype)
    axes = (((1,), (1,)), ((), ()))
    logits = lax.dot_general(rows, matrix, axes, preferred_element_type=wide)
    if bias is not None:
        logits += bias.astype(wide)
    return logits.reshape(*x.shape[:-1], -1)


def _nothing_yet(x: Array, matrix: Array) -> tuple[Array, Array]:
    """Sums before the first chunk: of nats, and of the matrix's gradient."""
    wide = precision.accumulation_dtype(x.dtype)
    zeros = jnp.zeros((), wide), jnp.zeros(matrix.shape, wide)
    (*zeros, _) = precision.same_devices((*zeros, x))
    return zeros[0], zeros[1]


def _chunks(arrays: tuple[Array, ...], chunk: int) -> tuple[Array, ...]:
    """Arrays [B, T, ...] as [C, B, t, ...]; what is added at the end of T is 0.

    Rows are left whole: they are what is spread over devices.
    """
    B, T = arrays[0].shape[:2]
    fewest = min(T, max(1, -(-B * T // chunk)))
    # Of the numbers of chunks up to twice the fewest, the one that adds least.
    count = min(range(fewest, min(2 * fewest, T) + 1), key=lambda C: -T % C)
    size = -(-T // count)

    def split(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0), (0, count * size - T), *[(0, 0)] * (x.ndim - 2)])
        return jnp.moveaxis(x.reshape(B, count, size, *x.shape[2:]), 1, 0)

    return tuple(map(split, arrays))


def _joined(chunks: Array, T: int) -> Array:
    """The inverse: [C, B, t, ...] as [B, T, ...]."""
    x = jnp.moveaxis(chunks, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :T]
