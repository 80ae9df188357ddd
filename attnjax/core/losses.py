"""Losses, in nats."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnjax.core import precision
from attnjax.core._checks import check_ids, shaped
from attnjax.core._sharding import keep_rows_apart


@shaped
def token_cross_entropy(
    logits: Float[Array, "*B V"], labels: Int[Array, "*B"], *, smoothing: float = 0.0
) -> Float[Array, "*B"]:
    r"""Cross-entropy of each label under the logits, in nats.

    .. math:: -(1 - \epsilon) \log p_y - \frac{\epsilon}{V} \sum_k \log p_k

    Source: Szegedy et al. 2016 (arXiv:1512.00567), section 7, for the smoothing;
    with epsilon = 0 it is the negative log-likelihood.

    Args:
      logits: over a vocabulary, shape [..., V].
      labels: token ids, shape [...].
      smoothing: epsilon, probability mass spread evenly over the vocabulary.

    Returns:
      Nats, shape [...], in at least float32; NaN for a label outside the vocabulary
      that is not known while a program is traced.

    Raises:
      ValueError: if shapes disagree, smoothing is outside [0, 1), or a known label is
        outside the vocabulary.
      TypeError: if labels are not integers.

    Example:
      >>> token_cross_entropy(jnp.zeros(4), jnp.array(2)).round(4)  # log 4
      Array(1.3863, dtype=float32)
    """
    _check_smoothing(smoothing)
    check_ids("labels", labels, logits.shape[-1])
    inside = _inside(labels, logits.shape[-1])
    nats = _token_nats(logits, labels, smoothing)
    return nats * jnp.where(inside, jnp.ones((), nats.dtype), jnp.nan)


def _token_nats(logits: Array, labels: Array, smoothing: float) -> Array:
    """Cross-entropy of labels in the vocabulary; of others, a number without sense."""
    logits = precision.upcast(logits)
    log_total = jax.nn.logsumexp(logits, axis=-1)
    # A comparison instead of a gather: its gradient is a select, not a scatter.
    is_label = _is_label(labels, logits.shape[-1])
    nats = log_total - jnp.sum(jnp.where(is_label, logits, 0), axis=-1)
    if smoothing == 0:
        return nats
    spread = log_total - jnp.mean(logits, axis=-1)
    return (1 - smoothing) * nats + smoothing * spread


def _inside(labels: Array, V: int) -> Array:
    """Whether labels are in the vocabulary."""
    return (labels >= 0) & (labels < V)


def _is_label(labels: Array, V: int) -> Array:
    """Labels as one of V: [...] -> [..., V]."""
    dtype = precision.promoted(labels, jnp.int32)
    return jnp.arange(V, dtype=dtype) == labels.astype(dtype)[..., None]


@shaped
def linear_cross_entropy(
    x: Float[Array, "B T M"],
    matrix: Float[Array, "V M"],
    bias: Float[Array, "V"] | None,
    labels: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    *,
    smoothing: float = 0.0,
    chunk_size: int = 512,
) -> Float[Array, ""]:
    r"""Sums the cross-entropy of a linear output layer, without all logits in memory.

    .. math:: \sum_{b,t} w_{bt}\, \ell(W x_{bt} + b, y_{bt})

    with `token_cross_entropy` as l. Positions are processed in chunks: the forward pass
    computes a chunk's logits and their gradient at once, so neither is ever in memory
    for all positions. Reverse-mode differentiation only.

    Args:
      x: input of the output layer, shape [B, T, M].
      matrix: W, shape [V, M].
      bias: b, shape [V]; None adds nothing.
      labels: token ids, shape [B, T].
      weights: factor of each position, such as 0 for padding, shape [B, T]. A label
        outside the vocabulary, such as the -100 of other libraries, must have 0.
      smoothing: as of `token_cross_entropy`.
      chunk_size: approximate number of positions in a chunk, over all rows.

    Returns:
      Nats, in at least float32; NaN if a label outside the vocabulary counts and is not
      known while a program is traced.

    Raises:
      ValueError: if shapes disagree, smoothing is outside [0, 1), chunk_size is below
        1, or a known label outside the vocabulary counts.
      TypeError: if labels are not integers.

    Example:
      >>> x, W, labels = jnp.zeros((1, 2, 3)), jnp.zeros((4, 3)), jnp.array([[1, 2]])
      >>> linear_cross_entropy(x, W, None, labels, jnp.ones((1, 2))).round(4)  # 2 log 4
      Array(2.7726, dtype=float32)
    """
    _check_smoothing(smoothing)
    if chunk_size < 1:
        raise ValueError(f"chunk_size: expected at least 1 position, got {chunk_size}")
    # Where a weight is 0, a label outside the vocabulary does no harm.
    harmless = ~_inside(labels, matrix.shape[0]) & (weights == 0)
    counted = jnp.where(harmless, 0, labels)
    check_ids("labels", counted, matrix.shape[0])
    total = partial(_checked_nats, smoothing, chunk_size)
    return keep_rows_apart(total, (x, matrix, bias, counted, weights), None)


# Compiled where it is called eagerly; inside a program it leaves no trace.
@partial(jax.jit, static_argnums=(0, 1), inline=True)
def _checked_nats(
    smoothing: float,
    chunk_size: int,
    x: Array,
    matrix: Array,
    bias: Array | None,
    labels: Array,
    weights: Array,
) -> Array:
    """The sum, NaN if a label outside the vocabulary counts."""
    dtype = precision.promoted(x, matrix)
    weights = weights.astype(precision.accumulation_dtype(dtype))
    weights = jnp.where(_inside(labels, matrix.shape[0]), weights, jnp.nan)
    arrays = x.astype(dtype), matrix.astype(dtype), bias, weights
    arrays, labels = precision.same_devices((arrays, labels))
    return _linear_nats(*arrays, labels, smoothing, chunk_size)


def _check_smoothing(smoothing: float) -> None:
    if not 0 <= smoothing < 1:
        raise ValueError(
            f"smoothing: expected a number in [0, 1), got {smoothing} (the "
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
    chunk_size: int,
) -> Array:
    def add(total: Array, chunk: Any) -> tuple[Array, None]:
        x, weights, labels = chunk
        logits = _logits(x, matrix, bias)
        nats = _token_nats(logits, labels, smoothing)
        return total + jnp.sum(nats * weights), None

    zero, _ = _zero_sums(x, matrix)
    total, _ = lax.scan(add, zero, _split_chunks((x, weights, labels), chunk_size))
    return total


def _linear_nats_forward(
    x: Array,
    matrix: Array,
    bias: Array | None,
    weights: Array,
    labels: Array,
    smoothing: float,
    chunk_size: int,
) -> tuple[Array, Any]:
    """The loss, and as residuals its gradients: the backward pass has no logits."""
    V = matrix.shape[0]

    def add(sums: Any, chunk: Any) -> tuple[Any, Any]:
        total, d_matrix, d_bias = sums
        x, weights, labels = chunk
        logits = _logits(x, matrix, bias)
        nats = _token_nats(logits, labels, smoothing)
        is_label = _is_label(labels, V)
        target = smoothing / V + jnp.where(is_label, 1 - smoothing, 0)
        # The gradient of cross-entropy: probabilities minus target.
        d_logits = (jax.nn.softmax(logits) - target) * weights[..., None]
        # Cast to the compute dtype: both dots below take bf16 operands in bf16 models.
        d_low = d_logits.astype(x.dtype)
        d_matrix += precision.weight_gradient(d_low, x).astype(d_matrix.dtype)
        d_bias += d_logits.sum(axis=(0, 1))
        sums = total + jnp.sum(nats * weights), d_matrix, d_bias
        return sums, (precision.matmul(d_low, matrix), nats)

    zero, zeros = _zero_sums(x, matrix)
    chunks = _split_chunks((x, weights, labels), chunk_size)
    sums, per_position = lax.scan(add, (zero, zeros, zeros[:, 0]), chunks)
    total, d_matrix, d_bias = sums
    d_x, nats = (_join_chunks(chunks, x.shape[1]) for chunks in per_position)
    bias_gradient = None if bias is None else d_bias.astype(bias.dtype)
    gradients = d_x, d_matrix.astype(matrix.dtype), bias_gradient
    return total, (*gradients, nats.astype(weights.dtype))


def _linear_nats_backward(
    smoothing: float, chunk_size: int, gradients: Any, cotangent: Array
) -> tuple[Any, ...]:
    """Scales the gradients; integer labels have none."""
    return *jax.tree.map(lambda g: g * cotangent.astype(g.dtype), gradients), None


_linear_nats.defvjp(_linear_nats_forward, _linear_nats_backward)


def _logits(x: Array, matrix: Array, bias: Array | None) -> Array:
    """Logits [B, t, V] in at least float32, whatever dtype the operands have."""
    rows = precision.as_rows(x)  # [B, t, M] -> [B*t, M]
    dtype = precision.accumulation_dtype(x.dtype)
    axes = (((1,), (1,)), ((), ()))
    logits = lax.dot_general(rows, matrix, axes, preferred_element_type=dtype)
    if bias is not None:
        logits += bias.astype(dtype)
    return logits.reshape(*x.shape[:-1], len(matrix))  # [B*t, V] -> [B, t, V]


def _zero_sums(x: Array, matrix: Array) -> tuple[Array, Array]:
    """Initial sums of the scan over chunks: of nats, and of the matrix's gradient."""
    dtype = precision.accumulation_dtype(x.dtype)
    zeros = jnp.zeros((), dtype), jnp.zeros(matrix.shape, dtype)
    # Inside `shard_map` a scan's carry must vary over the same devices all along.
    (*zeros, _) = precision.same_devices((*zeros, x))
    return zeros[0], zeros[1]


def _split_chunks(arrays: tuple[Array, ...], chunk_size: int) -> tuple[Array, ...]:
    """Splits arrays [B, T, ...] along T into [C, B, t, ...], padded with zeros.

    The batch axis is not split, because it is the one that is sharded over devices.
    """
    B, T = arrays[0].shape[:2]
    fewest = max(1, min(T, -(-B * T // chunk_size)))
    # Of the numbers of chunks up to twice the fewest, the one with the least padding.
    most = max(fewest, min(2 * fewest, T))
    count = min(range(fewest, most + 1), key=lambda C: -T % C)
    size = -(-T // count)

    def split(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0), (0, count * size - T), *[(0, 0)] * (x.ndim - 2)])
        # [B, C*t, ...] -> [B, C, t, ...] -> [C, B, t, ...]
        return jnp.moveaxis(x.reshape(B, count, size, *x.shape[2:]), 1, 0)

    return tuple(map(split, arrays))


def _join_chunks(chunks: Array, T: int) -> Array:
    """The inverse of `_split_chunks`, without the padding."""
    x = jnp.moveaxis(chunks, 0, 1)  # [C, B, t, ...] -> [B, C, t, ...]
    B, C, t = x.shape[:3]
    return x.reshape(B, C * t, *x.shape[3:])[:, :T]  # -> [B, T, ...]
