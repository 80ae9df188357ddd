"""What several models are made of: parameters, embeddings, the output layer."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from attnjax.cells.gru import GRUParams
from attnjax.core import precision
from attnjax.core._checks import check_ids
from attnjax.core.dropout import dropout

Tree = Any
Draw = Callable[[Array, tuple[int, ...]], Array]


class Params(nnx.Module):
    """Makes the leaves of a parameter tree trainable; call it to get arrays."""

    def __init__(self, tree: Tree) -> None:
        self.tree = nnx.data(jax.tree.map(nnx.Param, tree))

    def __call__(self, dtype: DTypeLike) -> Tree:
        """The tree of arrays, in the dtype to compute in."""
        return jax.tree.map(
            lambda p: p[...].astype(dtype),
            self.tree,
            is_leaf=lambda x: isinstance(x, nnx.Variable),
        )


class Initializers(NamedTuple):
    """How each kind of weight is drawn: functions of a key and a shape."""

    embedding: Draw
    matrix: Draw
    recurrent: Draw  # square blocks side by side
    alignment: Draw
    vector: Draw  # v_a


def initializers(name: Literal["paper", "glorot"]) -> Initializers:
    """The paper's initialisation, or one that suits small models and Adam.

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix B.1; Glorot &
    Bengio 2010 for the other, with embeddings of variance 1 / width.
    """
    small, tiny = jax.nn.initializers.normal(0.01), jax.nn.initializers.normal(0.001)
    if name == "paper":
        return Initializers(small, small, _orthogonal_blocks, tiny, _zeros)
    glorot = jax.nn.initializers.glorot_uniform()
    return Initializers(_unit_rows, glorot, _orthogonal_blocks, glorot, _unit_rows)


def _zeros(rng: Array, shape: tuple[int, ...]) -> Array:
    return jnp.zeros(shape)


def _unit_rows(rng: Array, shape: tuple[int, ...]) -> Array:
    return jax.random.normal(rng, shape) * shape[-1] ** -0.5


def _orthogonal_blocks(rng: Array, shape: tuple[int, ...]) -> Array:
    size, width = shape
    one = jax.nn.initializers.orthogonal()
    rngs = jax.random.split(rng, width // size)
    return jnp.concatenate([one(r, (size, size)) for r in rngs], axis=1)


def init_gru(rng: Array, M: int, D: int, draw: Initializers) -> GRUParams:
    """Weights of a GRU that reads width M into state width D; no bias at first."""
    r_input, r_gates, r_candidate = jax.random.split(rng, 3)
    return GRUParams(
        w=draw.matrix(r_input, (M, 3 * D)),
        u_gates=draw.recurrent(r_gates, (D, 2 * D)),
        u_candidate=draw.recurrent(r_candidate, (D, D)),
        b=jnp.zeros(3 * D),
    )


def embed(table: nnx.Param, ids: Array, dtype: DTypeLike) -> Array:
    """Rows of an embedding table, [..., M].

    Raises:
      ValueError: if an id whose value is known is outside the table.
    """
    check_ids("tokens", ids, table.shape[0])
    return table[...][ids].astype(dtype)


def split_rng(rng: Array | None, count: int) -> list[Array | None]:
    """Keys for `count` uses of one key, or as many times None."""
    return [None] * count if rng is None else list(jax.random.split(rng, count))


def check_tied(tied: bool, embed_dim: int, readout_dim: int) -> None:
    """Checks that the target embedding can serve as the output matrix."""
    if tied and embed_dim != readout_dim:
        raise ValueError(
            f"readout_dim: expected {embed_dim}, got {readout_dim} (with tie_output "
            "the output matrix is the target embedding, of width embed_dim)"
        )


class OutputLayer(NamedTuple):
    """The last linear map, from what a model has computed to logits."""

    matrix: Float[Array, "V M"]
    bias: Float[Array, "V"] | None

    def logits(self, units: Float[Array, "... M"]) -> Float[Array, "... V"]:
        """W x + b."""
        product = precision.matmul(units, self.matrix.T)
        return product if self.bias is None else product + self.bias


class SequenceModel(nnx.Module):
    """A model that writes a target for a source.

    `encode` reads a source once; `start` and `step` write a target token by token;
    the call writes a known target at once, with the same numbers; `features` and
    `output` are the call in two parts.
    """

    @property
    def output(self) -> OutputLayer:
        """The output matrix [V, l] and bias [V]."""
        raise NotImplementedError

    def features(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """What the logits of a call are computed from, [B, T, l], and its weights.

        The arguments are those of the call. With `output` a loss can be taken without
        all logits at once: `attnjax.linear_cross_entropy`.
        """
        raise NotImplementedError

    def __call__(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """Writes known targets: the numbers of `step`, all positions at once.

        Args:
          source: token ids, shape [B, S].
          mask: True = a source token, shape [B, S].
          previous: the token before each target position, shape [B, T].
          rng: random key for dropout; None means none.

        Returns:
          Logits [B, T, V] and weights [B, T, S]; a model that does not attend gives
          weights of 0.
        """
        units, weights = self.features(source, mask, previous, rng)
        return self.output.logits(units), weights


class Emitter(nnx.Module):
    r"""The deep output layer: what the decoder knows -> logits.

    .. math::
        \tilde t = \sum_k U_k x_k, \quad t_j = \max(\tilde t_{2j-1}, \tilde t_{2j}), \\
        \mathrm{logits} = W_o t + b_o

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A.2.2; maxout:
    Goodfellow et al. 2013. Without maxout, t is tanh of a layer of its own width.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        readout_dim: int,
        vocab_size: int,
        *,
        maxout: bool,
        tied: bool,
        draw: Initializers,
        rngs: nnx.Rngs,
    ) -> None:
        """Draws the weights.

        Args:
          widths: of the inputs x_k.
          readout_dim: l, the width of t.
          vocab_size: V.
          maxout: halve 2 l units by maxout; otherwise l tanh units.
          tied: W_o is given at call, as the target embedding [V, l].
          draw: how weights are drawn.
          rngs: the stream `params` is drawn from.
        """
        self.maxout = maxout
        width = readout_dim * (2 if maxout else 1)
        self.w_readout = nnx.Param(draw.matrix(rngs.params(), (sum(widths), width)))
        self.b_readout = nnx.Param(jnp.zeros(width))
        if not tied:
            shape = (vocab_size, readout_dim)
            self.w_output = nnx.Param(draw.matrix(rngs.params(), shape))
        self.b_output = nnx.Param(jnp.zeros(vocab_size))

    def units(
        self, parts: tuple[Array, ...], rng: Array | None, *, dropout_rate: float
    ) -> Array:
        """What the logits are computed from, [..., l]: inputs x_k [..., width_k]."""
        x = jnp.concatenate(parts, axis=-1)
        dtype = x.dtype
        units = precision.matmul(x, self.w_readout[...].astype(dtype))
        units = units + self.b_readout[...].astype(dtype)
        if self.maxout:
            units = jnp.max(units.reshape(*units.shape[:-1], -1, 2), axis=-1)
        else:
            units = jnp.tanh(units)
        return dropout(rng, units, rate=dropout_rate)

    def output(self, table: nnx.Param | None, dtype: DTypeLike) -> OutputLayer:
        """W_o and b_o."""
        w_output = self.w_output if table is None else table
        return OutputLayer(
            w_output[...].astype(dtype), self.b_output[...].astype(dtype)
        )
