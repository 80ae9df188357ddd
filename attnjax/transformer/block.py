"""The Transformer block: self-attention, cross-attention in a decoder, MLP.

A block takes one position or many at a time and gives the same numbers either way:
masks compare positions, not array indices. Position -1 is padding: nothing attends
to it.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnjax.core import norms, precision, scores
from attnjax.core.dropout import dropout
from attnjax.core.masks import AttentionMask
from attnjax.core.positions import apply_rope
from attnjax.transformer.attention import (
    MATERIALISED,
    Attention,
    mean_head_weights,
)
from attnjax.transformer.cache import LayerCache, read, write

Tree = Any


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
    score: Tree  # parameters of the score, leaves [H, ...]; None where it has none


class MLPParams(NamedTuple):
    """Parameters of the MLP; a gated MLP (SwiGLU) has a third matrix."""

    up: LinearParams  # [M, F]
    down: LinearParams  # [F, M]
    gate: LinearParams | None  # [M, F]


class BlockParams(NamedTuple):
    """Parameters of a block; only a decoder with an encoder has cross-attention."""

    self_attention_norm: NormParams
    self_attention: AttentionParams
    cross_attention_norm: NormParams | None
    cross_attention: AttentionParams | None
    mlp_norm: NormParams
    mlp: MLPParams


class EncoderMemory(NamedTuple):
    """Keys and values that cross-attention attends to, projected once per source.

    The head axis comes before the positions: the layout of the attention dots. Of a
    whole stack, keys and values have a leading axis of layers.
    """

    keys: Float[Array, "... B N S D"]
    values: Float[Array, "... B N S D"]
    mask: Bool[Array, "B S"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockDesign:
    """What a block computes, apart from its parameters. Hashable, so static in jit."""

    num_heads: int
    num_kv_heads: int
    causal: bool = True
    sliding_window: int | None = None
    # Radians a position of each pair of components; None rotates nothing.
    rope_frequencies: tuple[float, ...] | None = None
    rope_attention_factor: float = 1.0
    score: Callable[..., Array] = scores.scaled_dot  # of self-attention
    cross_attention_score: Callable[..., Array] = scores.scaled_dot
    attention: Attention = MATERIALISED
    pre_norm: bool = False
    norm_epsilon: float = 1e-5
    rms: bool = False
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float = 0.0


class Shared(NamedTuple):
    """What all blocks of a stack share."""

    positions: Int[Array, "B T"]
    mask: AttentionMask  # of self-attention
    cross_mask: AttentionMask | None
    prepared: tuple[Any, Any]  # both masks as the attention function takes them
    bias: Float[Array, "B H T S"] | None


class BlockOutput(NamedTuple):
    """What a block returns."""

    x: Float[Array, "B T M"]
    cache: LayerCache | None
    # Computes the mean of the heads' weights [B, T, S] when called: of
    # cross-attention where there is one, else of self-attention.
    weights: Callable[..., Array]


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
    r"""Applies the MLP to every position.

    .. math:: W_2\, a(W_1 x + b_1) + b_2

    With a gate, W_1 x + b_1 is multiplied by a(W_g x) instead of passing through a.
    The equations, one position at a time, are `core.mlp.mlp` and `core.mlp.gated_mlp`;
    a test shows that both compile to the same dots.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), eq. 2; the gate: Shazeer 2020
    (arXiv:2002.05202), eq. 5.
    """
    up = linear(params.up, x)
    if params.gate is None:
        return linear(params.down, activation(up))
    return linear(params.down, activation(linear(params.gate, x)) * up)


def project_memory(
    params: AttentionParams, states: Float[Array, "B S E"], *, design: BlockDesign
) -> tuple[Array, Array]:
    """Projects encoder states to the keys and values of one block: [B, N, S, D]."""

    def project(params: LinearParams) -> Array:
        heads = split_heads(linear(params, states), design.num_kv_heads)
        return heads.swapaxes(1, 2)  # [B, S, N, D] -> [B, N, S, D]

    return project(params.keys), project(params.values)


def block(
    params: BlockParams,
    x: Float[Array, "B T M"],
    shared: Shared,
    *,
    cache: LayerCache | None,
    memory: EncoderMemory | None,
    rng: Array | None,
    design: BlockDesign,
) -> BlockOutput:
    """Applies one block.

    Args:
      params: parameters of the block.
      x: the residual stream, shape [B, T, M].
      shared: positions, masks and bias.
      cache: the KV cache of this layer, or None: attend to the new tokens only.
      memory: keys and values for cross-attention, or None.
      rng: random key for dropout; None means none.
      design: what the block computes.

    Raises:
      ValueError: if the block has cross-attention and there is no memory.
    """
    rngs = [None] * 3 if rng is None else list(jax.random.split(rng, 3))
    residual = partial(_residual, design)
    attend = partial(_self_attention, params.self_attention, shared, cache, design)
    x, (cache, weights) = residual(params.self_attention_norm, attend, x, rngs[0])
    if params.cross_attention is not None and params.cross_attention_norm is not None:
        attend_memory = partial(
            _cross_attention, params.cross_attention, shared, memory, design
        )
        x, weights = residual(params.cross_attention_norm, attend_memory, x, rngs[1])

    def feed_forward(x: Array) -> tuple[Array, None]:
        return mlp(params.mlp, x, activation=design.activation), None

    x, _ = residual(params.mlp_norm, feed_forward, x, rngs[2])
    return BlockOutput(x, cache, weights)


def _self_attention(
    params: AttentionParams,
    shared: Shared,
    cache: LayerCache | None,
    design: BlockDesign,
    x: Array,
) -> tuple[Array, tuple[LayerCache | None, Callable[[], Array]]]:
    """Attends to the tokens of the same sequence, cached ones included."""

    def rotate(x: Array) -> Array:
        if design.rope_frequencies is None:
            return x
        positions = shared.positions[..., None]  # [B, T] -> [B, T, 1]: heads share one
        frequencies = np.array(design.rope_frequencies)
        scale = design.rope_attention_factor
        return apply_rope(x, positions, frequencies=frequencies, attention_factor=scale)

    query = rotate(split_heads(linear(params.query, x), design.num_heads))
    keys = rotate(split_heads(linear(params.keys, x), design.num_kv_heads))
    values = split_heads(linear(params.values, x), design.num_kv_heads)
    if cache is not None:
        cache = write(cache, keys, values)
        keys, values = read(cache)
    rest: Any = {
        "bias": shared.bias,
        "score": design.score,
        "score_params": params.score,
    }
    mask, prepared = shared.mask, shared.prepared[0]
    context = design.attention.fn(query, keys, values, mask=prepared, **rest)
    weights = partial(mean_head_weights, query, keys, mask=mask, **rest)
    return linear(params.output, merge_heads(context)), (cache, weights)


def _cross_attention(
    params: AttentionParams,
    shared: Shared,
    memory: EncoderMemory | None,
    design: BlockDesign,
    x: Array,
) -> tuple[Array, Callable[[], Array]]:
    """Attends to the states of an encoder."""
    if memory is None or shared.cross_mask is None:
        raise ValueError(
            "memory: expected the keys and values of an encoder, got None (the block "
            "has parameters for cross-attention)"
        )
    query = split_heads(linear(params.query, x), design.num_heads)
    # [B, N, S, D] -> [B, S, N, D]
    keys, values = memory.keys.swapaxes(1, 2), memory.values.swapaxes(1, 2)
    rest: Any = {
        "bias": None,
        "score": design.cross_attention_score,
        "score_params": params.score,
    }
    mask, prepared = shared.cross_mask, shared.prepared[1]
    context = design.attention.fn(query, keys, values, mask=prepared, **rest)
    weights = partial(mean_head_weights, query, keys, mask=mask, **rest)
    return linear(params.output, merge_heads(context)), weights


def normalise(params: NormParams, x: Array, design: BlockDesign) -> Array:
    """Applies LayerNorm, or RMSNorm where the design says so."""
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
    """Adds the output of a sublayer to `x`; normalises before it, or after the sum."""
    y, rest = sublayer(normalise(norm, x, design) if design.pre_norm else x)
    total = x + dropout(rng, y, rate=design.dropout)
    return (total if design.pre_norm else normalise(norm, total, design)), rest


def split_heads(x: Float[Array, "B T H*D"], heads: int) -> Float[Array, "B T H D"]:
    """Splits the last axis into heads."""
    width = x.shape[-1] // heads
    return x.reshape(*x.shape[:-1], heads, width)  # [B, T, H*D] -> [B, T, H, D]


def merge_heads(x: Float[Array, "B T H D"]) -> Float[Array, "B T H*D"]:
    """Concatenates the heads."""
    H, D = x.shape[-2:]
    return x.reshape(*x.shape[:-2], H * D)  # [B, T, H, D] -> [B, T, H*D]
