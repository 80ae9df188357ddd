"""The Transformer block: attend, then transform every position by itself.

A block takes one position or many at a time, and gives the same numbers each way:
what a position sees is decided by positions, never by where it stands in an array.
Position -1 is no token: nothing reads it.
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
# queries or keys [B, T, H, D], positions [B, T] -> the same, turned
Turn = Callable[[Array, Array], Array]


class NormParams(NamedTuple):
    """Weights of a normalisation; RMSNorm has no bias."""

    scale: Float[Array, "M"]
    bias: Float[Array, "M"] | None


class LinearParams(NamedTuple):
    """Weights of an affine map."""

    w: Float[Array, "M N"]
    b: Float[Array, "N"] | None


class AttentionParams(NamedTuple):
    """Weights of multi-head attention: H query heads, N key heads."""

    query: LinearParams  # [M, H*D]
    keys: LinearParams  # [M, N*D]
    values: LinearParams  # [M, N*D]
    output: LinearParams  # [H*D, M]
    score: Tree  # what the score learns, leaves [H, ...]; None where nothing


class MLPParams(NamedTuple):
    """Weights of the two-layer network; with a gate, of its gated form."""

    up: LinearParams  # [M, F]
    down: LinearParams  # [F, M]
    gate: LinearParams | None  # [M, F]


class BlockParams(NamedTuple):
    """Weights of a block; a decoder that reads a source has all six."""

    self_attention_norm: NormParams
    attention: AttentionParams
    cross_attention_norm: NormParams | None
    reading: AttentionParams | None
    mlp_norm: NormParams
    feed: MLPParams


class Source(NamedTuple):
    """What a block reads besides its own past, projected once per source.

    Heads come before positions, as in the products that read them.
    """

    keys: Float[Array, "B N S D"]
    values: Float[Array, "B N S D"]
    mask: Bool[Array, "B S"]


def bidirectional_mask(query_positions: Array, key_positions: Array) -> Array:
    """Every query sees every token: an encoder."""
    real = (key_positions >= 0)[:, None]
    return jnp.broadcast_to(real, (*query_positions.shape, key_positions.shape[1]))


def causal_mask(query_positions: Array, key_positions: Array) -> Array:
    """Every query sees its own token and those before: a decoder."""
    seen = masks.causal(query_positions, key_positions)
    return seen & (key_positions >= 0)[:, None]


def sliding_window_mask(before: int) -> MaskFn:
    """Every query sees its own token and `before` tokens before it."""

    def sees(query_positions: Array, key_positions: Array) -> Array:
        near = masks.sliding_window(query_positions, key_positions, before=before)
        return near & (key_positions >= 0)[:, None]

    return sees


def no_rotation(x: Array, positions: Array) -> Array:
    """Leaves queries and keys as they are: positions are known in another way."""
    return x


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockDesign:
    """What a block does, apart from its weights."""

    heads: int
    key_heads: int
    sees: MaskFn = causal_mask
    window: int | None = (
        None  # `before` of `sliding_window_mask`; None where S bounds the past
    )
    turn: Turn = no_rotation
    score: Callable[..., Array] = scores.scaled_dot  # of attention to the own past
    cross_attention_score: Callable[..., Array] = scores.scaled_dot  # to the source
    pre_norm: bool = False
    norm_epsilon: float = 1e-5
    rms: bool = False
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float = 0.0


def linear(params: LinearParams, x: Float[Array, "... M"]) -> Float[Array, "... N"]:
    """Maps the last axis: x W + b."""
    y = precision.matmul(x, params.w)
    return y if params.b is None else y + params.b.astype(y.dtype)


def transform(
    params: MLPParams,
    x: Float[Array, "... M"],
    *,
    activation: Callable[[Array], Array],
) -> Float[Array, "... M"]:
    r"""Transforms every position by itself.

    .. math:: W_2\, a(W_1 x + b_1) + b_2

    With a gate, W_1 x + b_1 is multiplied by a(W_g x) instead of passing through a.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), eq. 2; the gate: Shazeer 2020
    (arXiv:2002.05202), eq. 5.
    """
    up = linear(params.up, x)
    if params.gate is None:
        return linear(params.down, activation(up))
    return linear(params.down, activation(linear(params.gate, x)) * up)


def encoder_memory(
    params: AttentionParams, states: Float[Array, "B S E"], *, design: BlockDesign
) -> tuple[Array, Array]:
    """Projects source states for a block that will read them: [B, N, S, D] twice."""

    def project(params: LinearParams) -> Array:
        return _heads(linear(params, states), design.key_heads).swapaxes(1, 2)

    return project(params.keys), project(params.values)


class Past(NamedTuple):
    """How a block sees its own tokens."""

    mask: Bool[Array, "B 1 T S"]
    bias: Float[Array, "B H T S"] | None
    # the new keys and values -> those to read, and what is kept
    update_cache: Callable[[Array, Array], tuple[Array, Array, Tree]]


def forget(keys: Array, values: Array) -> tuple[Array, Array, None]:
    """Looks back at nothing but what is given at once, and keeps nothing."""
    return keys, values, None


def block(
    params: BlockParams,
    x: Float[Array, "B T M"],
    positions: Int[Array, "B T"],
    past: Past,
    source: Source | None,
    rng: Array | None,
    *,
    design: BlockDesign,
) -> tuple[Array, Tree, Array]:
    """One block: its positions transformed, what it keeps, and its weights [B, T, S].

    The weights are the mean over heads; of the source where one is read.
    """
    rngs = [None] * 3 if rng is None else list(jax.random.split(rng, 3))
    residual = partial(_residual, design)

    def self_attention(x: Array) -> tuple[Array, Any]:
        own = params.attention
        query = design.turn(_heads(linear(own.query, x), design.heads), positions)
        keys = _heads(linear(own.keys, x), design.key_heads)
        values = _heads(linear(own.values, x), design.key_heads)
        keys, values, kept = past.update_cache(design.turn(keys, positions), values)
        read = attend_heads(
            query, keys, values, past.mask, bias=past.bias, score=design.score
        )
        return _joined(own.output, read), (kept, read.weights.mean(axis=1))

    def cross_attention(own: AttentionParams, x: Array) -> tuple[Array, Array]:
        if source is None:
            raise ValueError(
                "source: expected keys and values, got None (a block with weights for "
                "reading a source needs one)"
            )
        read = attend_heads(
            _heads(linear(own.query, x), design.heads),
            source.keys.swapaxes(1, 2),
            source.values.swapaxes(1, 2),
            source.mask[:, None, None],
            score=design.cross_attention_score,
            score_params=own.score,
        )
        return _joined(own.output, read), read.weights.mean(axis=1)

    def feed(x: Array) -> tuple[Array, None]:
        return transform(params.feed, x, activation=design.activation), None

    x, (kept, weights) = residual(
        params.self_attention_norm, self_attention, x, rngs[0]
    )
    if params.reading is not None and params.cross_attention_norm is not None:
        reading = partial(cross_attention, params.reading)
        x, weights = residual(params.cross_attention_norm, reading, x, rngs[1])
    x, _ = residual(params.mlp_norm, feed, x, rngs[2])
    return x, kept, weights


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
    """Adds what a sublayer makes of `x`; normalises before it, or after the sum."""
    y, rest = sublayer(normalise(norm, x, design) if design.pre_norm else x)
    total = x + dropout(rng, y, rate=design.dropout)
    return (total if design.pre_norm else normalise(norm, total, design)), rest


def _heads(x: Array, count: int) -> Array:
    return x.reshape(*x.shape[:-1], count, -1)


def _joined(output: LinearParams, read: Attended) -> Array:
    return linear(output, read.context.reshape(*read.context.shape[:-2], -1))
