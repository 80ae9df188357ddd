"""The Transformer block: self-attention, cross-attention, MLP.

A block takes one position or many at a time, with the same result: masks depend on
positions, never on array indices. Position -1 is padding, which nothing attends to.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnjax.core import masks, norms, precision, scores
from attnjax.core.attend import Attended, attend_heads
from attnjax.core.dropout import dropout

Tree = Any
# query positions [B, T], key positions [B, S] -> mask [B, T, S]
MaskFn = Callable[[Array, Array], Array]
# queries or keys [B, T, H, D], positions [B, T] -> rotated queries or keys
Rotation = Callable[[Array, Array], Array]


class NormParams(NamedTuple):
    """Parameters of a normalisation; RMSNorm has no bias."""

    scale: Float[Array, "M"]
    bias: Float[Array, "M"] | None


class LinearParams(NamedTuple):
    """Parameters of an affine map."""

    w: Float[Array, "M N"]
    b: Float[Array, "N"] | None


class AttentionParams(NamedTuple):
    """Parameters of multi-head attention: H query heads, N key heads."""

    query: LinearParams  # [M, H*D]
    keys: LinearParams  # [M, N*D]
    values: LinearParams  # [M, N*D]
    output: LinearParams  # [H*D, M]
    score: Tree  # parameters of the score, leaves [H, ...]; None if it has none


class MLPParams(NamedTuple):
    """Parameters of the two-layer network; with a gate, of its gated form."""

    up: LinearParams  # [M, F]
    down: LinearParams  # [F, M]
    gate: LinearParams | None  # [M, F]


class BlockParams(NamedTuple):
    """Parameters of a block; a decoder with cross-attention has all six."""

    self_attention_norm: NormParams
    self_attention: AttentionParams
    cross_attention_norm: NormParams | None
    cross_attention: AttentionParams | None
    mlp_norm: NormParams
    mlp: MLPParams


class EncoderMemory(NamedTuple):
    """Keys and values for cross-attention, projected once per source.

    Heads come before positions, as in the dots that contract them: no transpose.
    """

    keys: Float[Array, "B N S D"]
    values: Float[Array, "B N S D"]
    mask: Bool[Array, "B S"]


def bidirectional_mask(query_positions: Array, key_positions: Array) -> Array:
    """Every query attends to every token, as in an encoder."""
    real = (key_positions >= 0)[:, None]
    return jnp.broadcast_to(real, (*query_positions.shape, key_positions.shape[1]))


def causal_mask(query_positions: Array, key_positions: Array) -> Array:
    """Every query attends to its own token and those before, as in a decoder."""
    seen = masks.causal(query_positions, key_positions)
    return seen & (key_positions >= 0)[:, None]


def sliding_window_mask(before: int) -> MaskFn:
    """Every query attends to its own token and the `before` tokens before it."""

    def mask(query_positions: Array, key_positions: Array) -> Array:
        near = masks.sliding_window(query_positions, key_positions, before=before)
        return near & (key_positions >= 0)[:, None]

    return mask


def no_rotation(x: Array, positions: Array) -> Array:
    """Leaves queries and keys as they are: positions enter in another way."""
    return x


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockDesign:
    """The static settings of a block."""

    num_heads: int
    num_kv_heads: int
    mask_fn: MaskFn = causal_mask
    sliding_window: int | None = None  # ``before` of `sliding_window_mask`; None: all
    rotate: Rotation = no_rotation
    score: Callable[..., Array] = scores.scaled_dot  # of self-attention
    cross_attention_score: Callable[..., Array] = (
        scores.scaled_dot
    )  # of cross-attention
    pre_norm: bool = False
    norm_epsilon: float = 1e-5
    rms: bool = False
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float = 0.0


def linear(params: LinearParams, x: Float[Array, "... M"]) -> Float[Array, "... N"]:
    """Maps the last axis: x W + b."""
    y = precision.matmul(x, params.w)
    return y if params.b is None else y + params.b.astype(y.dtype)


def mlp(
    params: MLPParams,
    x: Float[Array, "... M"],
    *,
    activation: Callable[[Array], Array],
) -> Float[Array, "... M"]:
    r"""Applies the two-layer network to every position.

    .. math:: W_2\, a(W_1 x + b_1) + b_2

    With a gate, W_1 x + b_1 is multiplied by a(W_g x) instead of passing through a.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), eq. 2; the gate: Shazeer 2020
    (arXiv:2002.05202), eq. 5.
    """
    up = linear(params.up, x)
    if params.gate is None:
        return linear(params.down, activation(up))
    return linear(params.down, activation(linear(params.gate, x)) * up)


def project_encoder_states(
    params: AttentionParams, states: Float[Array, "B S E"], *, design: BlockDesign
) -> tuple[Array, Array]:
    """Projects encoder states to keys and values, each [B, N, S, D]."""

    def project(params: LinearParams) -> Array:
        x = _split_heads(linear(params, states), design.num_kv_heads)
        return x.swapaxes(1, 2)  # [B, S, N, D] -> [B, N, S, D]

    return project(params.keys), project(params.values)


class SelfAttentionContext(NamedTuple):
    """What self-attention needs besides queries, keys and values."""

    mask: Bool[Array, "B 1 T S"]
    bias: Float[Array, "B H T S"] | None
    # new keys and values -> all keys and values to attend to, and the updated cache
    update_cache: Callable[[Array, Array], tuple[Array, Array, Tree]]


def no_cache(keys: Array, values: Array) -> tuple[Array, Array, None]:
    """Attends to the given keys and values only."""
    return keys, values, None


def block(
    params: BlockParams,
    x: Float[Array, "B T M"],
    positions: Int[Array, "B T"],
    own: SelfAttentionContext,
    memory: EncoderMemory | None,
    rng: Array | None,
    *,
    design: BlockDesign,
) -> tuple[Array, Tree, Array]:
    """Applies one block.

    Returns:
      The new x [B, T, M], the updated cache arrays, and the weights [B, T, S]: the
      mean over heads, of cross-attention if there is an encoder memory.
    """
    rngs = [None] * 3 if rng is None else list(jax.random.split(rng, 3))
    residual = partial(_residual, design)

    def self_attention(x: Array) -> tuple[Array, Any]:
        p = params.self_attention
        query = design.rotate(
            _split_heads(linear(p.query, x), design.num_heads), positions
        )
        keys = _split_heads(linear(p.keys, x), design.num_kv_heads)
        values = _split_heads(linear(p.values, x), design.num_kv_heads)
        keys, values, cache = own.update_cache(design.rotate(keys, positions), values)
        read = attend_heads(
            query, keys, values, own.mask, bias=own.bias, score=design.score
        )
        return _merge_heads(p.output, read), (cache, read.weights.mean(axis=1))

    def cross_attention(p: AttentionParams, x: Array) -> tuple[Array, Array]:
        if memory is None:
            raise ValueError(
                "memory: expected keys and values, got None (a block with parameters "
                "for cross-attention needs an encoder memory)"
            )
        read = attend_heads(
            _split_heads(linear(p.query, x), design.num_heads),
            memory.keys.swapaxes(1, 2),  # [B, N, S, D] -> [B, S, N, D]
            memory.values.swapaxes(1, 2),  # [B, N, S, D] -> [B, S, N, D]
            memory.mask[:, None, None],
            score=design.cross_attention_score,
            score_params=p.score,
        )
        return _merge_heads(p.output, read), read.weights.mean(axis=1)

    def mlp_sublayer(x: Array) -> tuple[Array, None]:
        return mlp(params.mlp, x, activation=design.activation), None

    x, (cache, weights) = residual(
        params.self_attention_norm, self_attention, x, rngs[0]
    )
    if params.cross_attention is not None and params.cross_attention_norm is not None:
        attend = partial(cross_attention, params.cross_attention)
        x, weights = residual(params.cross_attention_norm, attend, x, rngs[1])
    x, _ = residual(params.mlp_norm, mlp_sublayer, x, rngs[2])
    return x, cache, weights


def normalise(params: NormParams, x: Array, design: BlockDesign) -> Array:
    """LayerNorm, or RMSNorm where the design says so."""
    if design.rms:
        return norms.rms_norm(x, params.scale, epsilon=design.norm_epsilon)
    return norms.layer_norm(x, params.scale, params.bias, epsilon=design.norm_epsilon)


def _residual(
    design: BlockDesign,
    norm: NormParams,
    sublayer: Callable[[Array], tuple[Array, Any]],
    x: Array,
    rng: Array | None,
) -> tuple[Array, Any]:
    """Adds a sublayer's output to `x`, with the norm before it or after the sum."""
    y, rest = sublayer(normalise(norm, x, design) if design.pre_norm else x)
    total = x + dropout(rng, y, rate=design.dropout)
    return (total if design.pre_norm else normalise(norm, total, design)), rest


def _split_heads(x: Array, count: int) -> Array:
    return x.reshape(*x.shape[:-1], count, -1)  # [..., H*D] -> [..., H, D]


def _merge_heads(output: LinearParams, read: Attended) -> Array:
    *leading, H, D = read.context.shape
    joined = read.context.reshape(*leading, H * D)  # [..., H, D] -> [..., H*D]
    return linear(output, joined)
