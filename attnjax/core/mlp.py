"""The MLP of a Transformer block, written as attention to F learned key-value pairs.

The input is the query; the rows of the first matrix are the keys, those of the second
the values. Only the weighting differs from other attention: an activation computes
each weight independently, where a softmax would normalise them.

For many rows, use `jax.vmap` over `x`. Both dots then batch to one 2-D matmul each, the
same that `transformer.block.mlp` compiles to (a test compares them).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.core import precision, scores
from attnjax.core._checks import shaped
from attnjax.core.attend import Weighting, attend


def elementwise(activation: Callable[[Array], Array]) -> Weighting:
    """Makes a weighting that applies an activation to each score.

    Args:
      activation: any function of one number, finite at 0; weights may be negative.

    Returns:
      A function from scores [..., S] and mask to weights [..., S], 0 where masked.

    Example:
      >>> elementwise(jax.nn.relu)(jnp.array([-1.0, 2.0]), None)
      Array([0., 2.], dtype=float32)
    """

    def weigh(scores: Array, mask: Array | None = None) -> Array:
        upcast = precision.upcast(scores)
        if mask is None:
            return activation(upcast).astype(scores.dtype)
        # Masked before and after: the gradient of an overflow would be NaN.
        weights = activation(jnp.where(mask, upcast, 0))
        return jnp.where(mask, weights, 0).astype(scores.dtype)

    return weigh


@shaped
def mlp(
    x: Float[Array, "M"],
    keys: Float[Array, "F M"],
    values: Float[Array, "F E"],
    *,
    key_bias: Float[Array, "F"] | None = None,
    value_bias: Float[Array, "E"] | None = None,
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> Float[Array, "E"]:
    r"""Applies a two-layer MLP: attends to learned keys and values.

    .. math:: y = \sum_j a(k_j^\top x + b_j)\, v_j + c

    which is the network W_2 a(W_1 x + b) + c: keys are the rows of W_1, values the
    columns of W_2.

    Source: the network: Vaswani et al. 2017 (arXiv:1706.03762), eq. 2; that it is
    attention: Sukhbaatar et al. 2019 (arXiv:1907.01470), section 4.1, and Geva et al.
    2021 (arXiv:2012.14913), eq. 1.

    Args:
      x: the query, shape [M].
      keys: k, rows of W_1, shape [F, M].
      values: v, columns of W_2, shape [F, E].
      key_bias: b, added to the scores, shape [F]; None adds nothing.
      value_bias: c, added to the context, shape [E]; None adds nothing.
      activation: a; it is computed in at least float32.

    Returns:
      Shape [E], in the promoted dtype of the inputs.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> mlp(jnp.array([2.0]), jnp.array([[1.0], [-1.0]]), 3 * jnp.eye(2))
      Array([6., 0.], dtype=float32)
    """
    context = attend(
        x,
        keys,
        values,
        bias=key_bias,
        score=scores.dot,
        weighting=elementwise(activation),
    ).context
    if value_bias is None:
        return context
    dtype = precision.promoted(context, value_bias)
    return context.astype(dtype) + value_bias.astype(dtype)


@shaped
def gated_mlp(
    x: Float[Array, "M"],
    gate_keys: Float[Array, "F M"],
    keys: Float[Array, "F M"],
    values: Float[Array, "F E"],
    *,
    activation: Callable[[Array], Array] = jax.nn.silu,
) -> Float[Array, "E"]:
    r"""Applies a gated MLP: attends to learned values with gated scores.

    .. math:: y = \sum_j a(g_j^\top x)\, (k_j^\top x)\, v_j

    Source: Shazeer 2020 (arXiv:2002.05202), eq. 6: FFN_SwiGLU with a = silu; GEGLU and
    ReGLU are other activations. It has no biases.

    Args:
      x: the query, shape [M].
      gate_keys: g, keys of the gates, shape [F, M]; the paper's W.
      keys: k, shape [F, M]; the paper's V.
      values: v, shape [F, E]; the paper's W_2.
      activation: a; it is computed in at least float32.

    Returns:
      Shape [E], in the promoted dtype of the inputs.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> x, one = jnp.array([2.0]), jnp.ones((1, 1))
      >>> gated_mlp(x, one, one, one, activation=jax.nn.relu)
      Array([4.], dtype=float32)
    """
    gates = elementwise(activation)(scores.dot(x, gate_keys), None)

    def weighting(matched: Array, _: Array | None) -> Array:
        dtype = precision.promoted(gates, matched)
        return gates.astype(dtype) * matched.astype(dtype)

    return attend(x, keys, values, score=scores.dot, weighting=weighting).context
