"""What a Transformer block is, as settings, and its weights before training."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from attnjax.core import frequencies
from attnjax.transformer.block import (
    AttentionParams,
    BlockParams,
    FeedForwardParams,
    LinearParams,
    NormParams,
)
from attnjax.transformer.head_scores import HEAD_SCORES

Tree = Any
Draw = Callable[[Array, tuple[int, ...]], Array]

# The backward pass is left what goes in, of the hidden layer's width, and makes what
# lies between again: of GELU that would be four arrays more in every layer.
_remade = partial(jax.checkpoint, prevent_cse=False)
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": _remade(partial(jax.nn.gelu, approximate=False)),
    "gelu-tanh": _remade(partial(jax.nn.gelu, approximate=True)),
    "silu": _remade(jax.nn.silu),
    "swiglu": _remade(jax.nn.silu),
}
REMAT: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "all": jax.checkpoint_policies.nothing_saveable,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """What every block of a stack is; the defaults are the paper's base model."""

    width: int = 512
    """Of a position between blocks (the paper's d_model)."""
    heads: int = 8
    """Of queries."""
    key_heads: int | None = None
    """Of keys and values, shared among query heads; None: as many, 1: one for all."""
    feed_width: int = 2048
    """Of the feed-forward network's hidden layer (d_ff)."""
    feed_forward: Literal["relu", "gelu", "gelu-tanh", "silu", "swiglu"] = "relu"
    """Its activation; swiglu is silu with a gate, and so with a third matrix."""
    norm: Literal["layer", "rms"] = "layer"
    """LayerNorm, or RMSNorm, which neither centres nor shifts."""
    pre_norm: bool = False
    """Normalise what goes into a sublayer, not the sum that comes out."""
    norm_epsilon: float = 1e-5
    """Added to the variance before the root."""
    biases: bool = True
    """Whether linear maps and LayerNorms have biases."""
    positions: Literal[
        "sinusoidal", "learned", "rotary", "alibi", "relative", "none"
    ] = "sinusoidal"
    """How a block knows where a token stands."""
    rotary_base: float = 10_000.0
    """Of the wavelengths of rotary positions; larger for longer texts."""
    rotary_stretch: Literal["none", "linear", "ntk", "parts"] = "none"
    """How rotary positions reach texts longer than those trained on: every pair slowed,
    the slowest most, or those that hardly came round (Llama 3.1)."""
    rotary_factor: float = 1.0
    """How many times longer; of a stretch."""
    rotary_context: int = 8192
    """Positions of the longest text trained on; of the stretch by parts."""
    window: int | None = None
    """Tokens before its own that a decoder's position sees; None: all of them."""
    soft_cap: float | None = None
    """Bounds the scores of attention to the own past: cap * tanh(score / cap)."""
    dropout: float = 0.0
    """Share dropped of embeddings and of what every sublayer adds, in training."""
    remat: Literal["none", "products", "all"] = "none"
    """What the backward pass makes again: nothing, all but products, everything."""

    def check(self) -> None:
        """Checks that the sizes fit together.

        Raises:
          ValueError: naming the first that does not.
        """
        if self.width % self.heads:
            raise ValueError(
                f"heads: expected a divisor of the width {self.width}, got {self.heads}"
            )
        if self.heads % (self.key_heads or self.heads):
            raise ValueError(
                f"key_heads: expected a divisor of the {self.heads} heads, "
                f"got {self.key_heads}"
            )
        if self.positions in ("sinusoidal", "rotary") and self.head_width % 2:
            raise ValueError(
                f"heads: expected an even width of each ({self.positions} positions "
                f"come in pairs), got {self.head_width}"
            )
        if self.window is not None and self.window < 0:
            raise ValueError(f"window: expected at least 0 tokens, got {self.window}")
        if self.rotary_factor <= 0:
            raise ValueError(
                f"rotary_factor: expected a number > 0, got {self.rotary_factor}"
            )
        if self.positions == "rotary":
            self.rotary_frequencies()
        elif self.rotary_stretch != "none":
            raise ValueError(
                f"rotary_stretch: expected none with {self.positions} positions, got "
                f"{self.rotary_stretch} (only rotary positions are stretched)"
            )

    def rotary_frequencies(self) -> frequencies.Frequencies:
        """Radians a position of every pair of a head's components, stretched."""
        plain = frequencies.rotary_frequencies(self.head_width, base=self.rotary_base)
        match self.rotary_stretch:
            case "none":
                return plain
            case "linear":
                return plain / self.rotary_factor
            case "ntk":
                return frequencies.stretch_ntk(plain, factor=self.rotary_factor)
            case "parts":
                return frequencies.stretch_by_parts(
                    plain, factor=self.rotary_factor, context=self.rotary_context
                )

    @property
    def head_width(self) -> int:
        """D, of queries and keys."""
        return self.width // self.heads

    @property
    def rms(self) -> bool:
        """Whether the norm is RMSNorm."""
        return self.norm == "rms"


def init_norm(config: BlockConfig) -> NormParams:
    """A norm that scales and shifts nothing yet."""
    bias = config.biases and not config.rms
    return NormParams(jnp.ones(config.width), jnp.zeros(config.width) if bias else None)


def init_block(
    config: BlockConfig,
    rng: Array,
    *,
    reading: str | None,
    draw: Draw,
    draw_output: Draw,
) -> BlockParams:
    """Weights of one block, as `Stack` says they are drawn."""
    M, F, D = config.width, config.feed_width, config.head_width
    H, N = config.heads, config.key_heads or config.heads
    rngs = iter(jax.random.split(rng, 12))

    def linear(shape: tuple[int, int], draw: Draw = draw) -> LinearParams:
        bias = jnp.zeros(shape[1]) if config.biases else None
        return LinearParams(draw(next(rngs), shape), bias)

    def attention(score: Tree) -> AttentionParams:
        return AttentionParams(
            query=linear((M, H * D)),
            keys=linear((M, N * D)),
            values=linear((M, N * D)),
            output=linear((H * D, M), draw_output),
            score=score,
        )

    own = attention(None)
    read, read_norm = None, None
    if reading is not None:
        init = HEAD_SCORES[reading].init
        read = attention(None if init is None else init(next(rngs), H, D))
        read_norm = init_norm(config)
    gated = config.feed_forward == "swiglu"
    return BlockParams(
        attention_norm=init_norm(config),
        attention=own,
        reading_norm=read_norm,
        reading=read,
        feed_norm=init_norm(config),
        feed=FeedForwardParams(
            up=linear((M, F)),
            down=linear((F, M), draw_output),
            gate=linear((M, F)) if gated else None,
        ),
    )
