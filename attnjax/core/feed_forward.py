"""Feed-forward networks, written as what they are: attention to learned slots.

The two-layer network asks with its input, compares with F learned keys, and reads F
learned values. Only the weighting differs from other attention: an activation weighs
each slot by itself. With `masked_softmax` in its place the network attends to slots.

Rows are `jax.vmap` with the keys and values shared; each of the two products is then
one matrix product over all rows, as if it were written by hand.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.core import precision, scores
from attnjax.core._checks import shaped
from attnjax.core.attend import Weighting, attend


def elementwise(activation: Callable[[Array], Array]) -> Weighting:
    """Makes a weighting that weighs each position by itself.

    Args:
      activation: any function of one number, finite at 0; weights may be negative.

    Returns:
      A function from scores [..., S] and mask to weights [..., S], 0 where masked.

    Example:
      >>> elementwise(jax.nn.relu)(jnp.array([-1.0, 2.0]), None)
      Array([0., 2.], dtype=float32)
    """

    def weigh(scores: Array, mask: Array | None = None) -> Array:
        wide = precision.upcast(scores)
        if mask is None:
            return activation(wide).astype(scores.dtype)
        # Masked twice: what is masked must not make a gradient either.
        given = activation(jnp.where(mask, wide, 0))
        return jnp.where(mask, given, 0).astype(scores.dtype)

    return weigh


@shaped
def feed_forward(
    x: Float[Array, "M"],
    keys: Float[Array, "F M"],
    values: Float[Array, "F E"],
    *,
    key_bias: Float[Array, "F"] | None = None,
    value_bias: Float[Array, "E"] | None = None,
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> Float[Array, "E"]:
    r"""Reads the learned slots whose keys the input matches.

    .. math:: y = \sum_j a(k_j^\top x + b_j)\, v_j + c

    which is the network W_2 a(W_1 x + b) + c: keys are the rows of W_1, values the
    columns of W_2.

    Source: the network: Vaswani et al. 2017 (arXiv:1706.03762), eq. 2; that it is
    attention: Sukhbaatar et al. 2019 (arXiv:1907.01470), section 4.1, and Geva et al.
    2021 (arXiv:2012.14913), eq. 1.

    Args:
      x: what asks, shape [M].
      keys: k, what each slot looks for, shape [F, M].
      values: v, what each slot gives, shape [F, E].
      key_bias: b, added to the scores, shape [F]; None adds nothing.
      value_bias: c, added to what is read, shape [E]; None adds nothing.
      activation: a, of one number; it is computed in at least float32.

    Returns:
      Shape [E], in the promoted dtype of the inputs.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> feed_forward(jnp.array([2.0]), jnp.array([[1.0], [-1.0]]), 3 * jnp.eye(2))
      Array([6., 0.], dtype=float32)
    """
    read = attend(
        x,
        keys,
        values,
        bias=key_bias,
        score=scores.dot,
        weighting=elementwise(activation),
    ).context
    if value_bias is None:
        return read
    dtype = precision.promoted(read, value_bias)
    return read.astype(dtype) + value_bias.astype(dtype)


@shaped
def gated_feed_forward(
    x: Float[Array, "M"],
    gate_keys: Float[Array, "F M"],
    keys: Float[Array, "F M"],
    values: Float[Array, "F E"],
    *,
    activation: Callable[[Array], Array] = jax.nn.silu,
) -> Float[Array, "E"]:
    r"""Reads each learned slot as far as its gate is open.

    .. math:: y = \sum_j a(g_j^\top x)\, (k_j^\top x)\, v_j

    Source: Shazeer 2020 (arXiv:2002.05202), eq. 6: FFN_SwiGLU with a = silu; GEGLU and
    ReGLU are other activations. There are no biases in it.

    Args:
      x: what asks, shape [M].
      gate_keys: g, what opens each slot's gate, shape [F, M]; the paper's W.
      keys: k, what each slot looks for, shape [F, M]; the paper's V.
      values: v, what each slot gives, shape [F, E]; the paper's W_2.
      activation: a, of one number; it is computed in at least float32.

    Returns:
      Shape [E], in the promoted dtype of the inputs.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> x, one = jnp.array([2.0]), jnp.ones((1, 1))
      >>> gated_feed_forward(x, one, one, one, activation=jax.nn.relu)
      Array([4.], dtype=float32)
    """
    gates = elementwise(activation)(scores.dot(x, gate_keys), None)

    def weighting(matched: Array, _: Array | None) -> Array:
        dtype = precision.promoted(gates, matched)
        return gates.astype(dtype) * matched.astype(dtype)

    return attend(x, keys, values, score=scores.dot, weighting=weighting).context
