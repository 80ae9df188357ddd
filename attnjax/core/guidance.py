"""Guided alignment: a loss that teaches attention given links, in nats."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnjax.core import precision
from attnjax.core._checks import shaped


@shaped
def alignment_cross_entropy(
    weights: Float[Array, "*B T S"], links: Bool[Array, "*B T S"]
) -> Float[Array, "*B T"]:
    r"""Cross-entropy of each target's weights under the links it is given, in nats.

    .. math:: -\frac{1}{|L_t|} \sum_{s \in L_t} \log w_{ts}

    with L_t the source positions that target t is linked to. A target without links
    costs nothing and has a gradient of zero. The logarithm's argument is at least the
    smallest normal number, so that a weight that underflowed to 0 costs 87 nats in
    float32 instead of an infinite loss.

    Source: Chen, Matusov, Khadivi & Peter 2016 (arXiv:1607.01628), section 3, eq. 5;
    the mean over the links of a target is their normalisation of the links.

    Args:
      weights: attention weights of each target, shape [..., T, S].
      links: True where target t is linked to source s, shape [..., T, S].

    Returns:
      Nats, shape [..., T], in at least float32.

    Raises:
      ValueError: if shapes disagree.
      TypeError: if links are not boolean.

    Example:
      >>> weights = jnp.array([[0.5, 0.5], [0.9, 0.1]])
      >>> links = jnp.array([[True, True], [False, False]])
      >>> alignment_cross_entropy(weights, links).round(4)  # log 2, and nothing
      Array([0.6931, 0.    ], dtype=float32)
    """
    weights = precision.upcast(weights)
    # Where there is no link the logarithm is of 1: its gradient is zero, never NaN.
    linked = jnp.where(links, weights, jnp.ones((), weights.dtype))
    nats = -jnp.log(jnp.maximum(linked, jnp.finfo(weights.dtype).tiny))
    count = jnp.sum(links, axis=-1, dtype=weights.dtype)
    return jnp.sum(nats, axis=-1) / jnp.maximum(count, 1)
