"""What the models share: parameters, embeddings, output layers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from attnjax.cells.initializers import Initializers
from attnjax.core import precision
from attnjax.core._checks import check_ids, known_value
from attnjax.core.dropout import dropout

Tree = Any


class Params(nnx.Module):
    """Makes the leaves of a parameter tree trainable; call it to get arrays."""

    def __init__(self, tree: Tree) -> None:
        self.tree = nnx.data(jax.tree.map(nnx.Param, tree))

    def __call__(self, dtype: DTypeLike) -> Tree:
        """Returns the tree of arrays, cast to the dtype of computation."""
        return jax.tree.map(
            lambda p: p[...].astype(dtype),
            self.tree,
            is_leaf=lambda x: isinstance(x, nnx.Variable),
        )


def embed(table: nnx.Param, ids: Array, dtype: DTypeLike) -> Array:
    """Looks ids up in an embedding table: [...] -> [..., M].

    Raises:
      ValueError: if an id whose value is known is outside the table.
    """
    check_ids("tokens", ids, table.shape[0])
    return table[...][ids].astype(dtype)


def first_hidden(states: Array, mask: Array, w_start: nnx.Param) -> Array:
    """Computes a decoder's first hidden states: tanh(W_s h_1), h_1 backward.

    The backward half of the first token's state has seen the whole source.

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A.2.2.

    Args:
      states: of a bidirectional encoder, shape [B, S, 2*D].
      mask: True = a token, shape [B, S].
      w_start: W_s, one block [D, D] for each layer side by side.

    Returns:
      Shape [B, L*D].
    """
    backward = states[:, :, states.shape[-1] // 2 :]  # [B, S, D]
    first = jnp.argmax(mask, axis=1)[:, None, None]  # [B] -> [B, 1, 1]
    first = jnp.take_along_axis(backward, first, axis=1)[:, 0]  # [B, 1, D] -> [B, D]
    return jnp.tanh(precision.matmul(first, w_start[...].astype(first.dtype)))


def token_positions(mask: Array, offset: Array | int = 0) -> Array:
    """Counts the tokens of each row, wherever its padding is: [..., T] -> [..., T].

    Padding, where the mask is False, is at position -1.
    """
    return jnp.where(mask, offset + jnp.cumsum(mask, axis=-1, dtype=jnp.int32) - 1, -1)


def check_lengths(name: str, positions: Any, most: int) -> None:
    """Checks that learned positions suffice, where the positions are known.

    Raises:
      ValueError: naming the longest row, if they do not.
    """
    known = known_value(positions)
    length = 0 if known is None else known.max(initial=-1) + 1
    if length > most:
        raise ValueError(
            f"{name}: expected at most {most} tokens, got {length} (max_length is the "
            "number of learned positions)"
        )


def split_rng(rng: Array | None, count: int) -> list[Array | None]:
    """Splits a random key in `count`; None, which means no dropout, is repeated."""
    return [None] * count if rng is None else list(jax.random.split(rng, count))


def check_num_layers(num_layers: int) -> None:
    """Checks that a stack of recurrent layers is not empty."""
    if num_layers < 1:
        raise ValueError(
            f"num_layers: expected at least 1, got {num_layers} (the number of "
            "recurrent layers)"
        )


def repeat_rows(tree: Tree, batch_size: int) -> Tree:
    """Gives every row of a batch the same arrays: leaves [...] -> [B, ...]."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (batch_size, *x.shape)), tree)


def check_vectors(x: Array, axes: str, width: int) -> None:
    """Checks inputs [axes, width] of a model of vectors.

    Raises:
      ValueError: if `x` has another shape.
    """
    if x.ndim != len(axes) + 1 or x.shape[-1] != width:
        raise ValueError(
            f"x: expected shape [{', '.join(axes)}, {width}], got {list(x.shape)} (the "
            "last axis is input_dim)"
        )


def check_tied(tied: bool, embed_dim: int, readout_dim: int) -> None:
    """Checks that the target embedding can serve as the output matrix."""
    if tied and embed_dim != readout_dim:
        raise ValueError(
            f"readout_dim: expected {embed_dim}, got {readout_dim} (with tie_output "
            "the output matrix is the target embedding, of width embed_dim)"
        )


class OutputLayer(NamedTuple):
    """The last linear layer, from a model's features to logits."""

    matrix: Float[Array, "V M"]
    bias: Float[Array, "V"] | None

    def logits(self, features: Float[Array, "... M"]) -> Float[Array, "... V"]:
        """Computes W x + b, in at least float32."""
        # W is [V, M]
        product = precision.matmul(features, self.matrix.T, upcast_result=True)
        return (
            product if self.bias is None else product + self.bias.astype(product.dtype)
        )


class VectorOutput(nnx.Module):
    """The output layer of a model that predicts vectors: W x + b."""

    def __init__(
        self, width: int, output_dim: int, initializers: Initializers, *, rngs: nnx.Rngs
    ) -> None:
        self.w = nnx.Param(initializers.kernel(rngs.params(), (width, output_dim)))
        self.b = nnx.Param(jnp.zeros(output_dim))

    def __call__(self, x: Array) -> Array:
        """Computes logits [..., output_dim] of [..., width], in at least float32."""
        kernel = self.w[...].astype(x.dtype)
        product = precision.matmul(x, kernel, upcast_result=True)
        return product + self.b[...].astype(product.dtype)


class DeepOutput(nnx.Module):
    r"""The deep output layer: one hidden layer between the decoder and the logits.

    .. math::
        \tilde t = \sum_k U_k x_k, \quad t_j = \max(\tilde t_{2j-1}, \tilde t_{2j}), \\
        \mathrm{logits} = W_o t + b_o

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A.2.2; maxout:
    Goodfellow et al. 2013 (arXiv:1302.4389). Without maxout, t is tanh of a layer of
    l units.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        readout_dim: int,
        vocab_size: int,
        *,
        maxout: bool,
        tied: bool,
        initializers: Initializers,
        rngs: nnx.Rngs,
    ) -> None:
        """Draws the parameters.

        Args:
          widths: width of each input x_k.
          readout_dim: l, the width of t.
          vocab_size: V.
          maxout: take the maximum over pairs of 2*l units; otherwise l tanh units.
          tied: W_o is passed at each call: the target embedding [V, l].
          initializers: how each role is initialised.
          rngs: the stream `params` is drawn from.
        """
        self.maxout = maxout
        kernel = initializers.kernel
        width = readout_dim * (2 if maxout else 1)
        self.w_readout = nnx.Param(kernel(rngs.params(), (sum(widths), width)))
        self.b_readout = nnx.Param(jnp.zeros(width))
        if not tied:
            self.w_output = nnx.Param(kernel(rngs.params(), (vocab_size, readout_dim)))
        self.b_output = nnx.Param(jnp.zeros(vocab_size))

    def features(
        self, inputs: tuple[Array, ...], rng: Array | None, *, dropout_rate: float
    ) -> Array:
        """Computes t [..., l] from the inputs x_k [..., width_k]."""
        x = jnp.concatenate(inputs, axis=-1)  # [..., width_k] -> [..., sum of widths]
        dtype = x.dtype
        t = precision.matmul(x, self.w_readout[...].astype(dtype))
        t = t + self.b_readout[...].astype(dtype)
        if self.maxout:
            width = t.shape[-1] // 2
            pairs = t.reshape(*t.shape[:-1], width, 2)  # [..., 2*l] -> [..., l, 2]
            t = jnp.max(pairs, axis=-1)
        else:
            t = jnp.tanh(t)
        return dropout(rng, t, rate=dropout_rate)

    def output(self, table: nnx.Param | None, dtype: DTypeLike) -> OutputLayer:
        """Returns W_o and b_o; `table` is the target embedding of a tied layer."""
        w_output = self.w_output if table is None else table
        return OutputLayer(
            w_output[...].astype(dtype), self.b_output[...].astype(dtype)
        )
