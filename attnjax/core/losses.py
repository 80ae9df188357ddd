"""Losses, in nats, one position at a time; sums and means belong to the caller."""

import jax
import jax.numpy as jnp
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
    if not 0 <= smoothing < 1:
        raise ValueError(
            f"smoothing: expected a share in [0, 1), got {smoothing} (the "
            "Transformer paper uses 0.1)"
        )
    wide = precision.accumulator(logits)
    log_total = jax.nn.logsumexp(wide, axis=-1)
    # A comparison, not a gather: its gradient is a select, not a scatter.
    is_label = jnp.arange(logits.shape[-1]) == labels[..., None]
    nats = log_total - jnp.sum(jnp.where(is_label, wide, 0), axis=-1)
    if smoothing == 0:
        return nats
    spread = log_total - jnp.mean(wide, axis=-1)
    return (1 - smoothing) * nats + smoothing * spread
