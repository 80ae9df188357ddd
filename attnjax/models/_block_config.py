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
    LinearParams,
    MLPParams,
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

    d_model: int = 512
    """Of a position between blocks (the paper's d_model)."""
    num_heads: int = 8
    """Of queries."""
    num_kv_heads: int | None = None
    """Of keys and values, shared among query heads; None: as many, 1: one for all."""
    d_ff: int = 2048
    """Of the feed-forward network's hidden layer (d_ff)."""
    activation: Literal["relu", "gelu", "gelu-tanh", "silu", "swiglu"] = "relu"
    """Its activation; swiglu is silu with a gate, and so with a third matrix."""
    norm: Literal["layer", "rms"] = "layer"
    """LayerNorm, or RMSNorm, which neither centres nor shifts."""
    pre_norm: bool = False
    """Normalise what goes into a sublayer, not the sum that comes out."""
    norm_epsilon: float = 1e-5
    """Added to the variance before the root."""
    use_bias: bool = True
    """Whether linear maps and LayerNorms have biases."""
    position_embedding: Literal[
        "sinusoidal", "learned", "rope", "alibi", "relative", "none"
    ] = "sinusoidal"
    """How a block knows where a token stands."""
    rope_theta: float = 10_000.0
    """Of the wavelengths of rotary positions; larger for longer texts."""
    rope_scaling: Literal["none", "linear", "ntk", "parts"] = "none"
    """How rotary positions reach texts longer than those trained on: every pair slowed,
    the slowest most, or those that hardly came round (Llama 3.1)."""
    rope_scaling_factor: float = 1.0
    """How many times longer; of a stretch."""
    rope_original_max_length: int = 8192
    """Positions of the longest text trained on; of the stretch by parts."""
    sliding_window: int | None = None
    """Tokens before its own that a decoder's position sees; None: all of them."""
    logit_softcap: float | None = None
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
        if self.d_model % self.num_heads:
            raise ValueError(
                f"heads: expected a divisor of the width {self.d_model}, got {self.num_heads}"
            )
        if self.num_heads % (self.num_kv_heads or self.num_heads):
            raise ValueError(
                f"key_heads: expected a divisor of the {self.num_heads} heads, "
                f"got {self.num_kv_heads}"
            )
        if self.position_embedding in ("sinusoidal", "rope") and self.head_width % 2:
            raise ValueError(
                f"heads: expected an even width of each ({self.position_embedding} positions "
                f"come in pairs), got {self.head_width}"
            )
        if self.sliding_window is not None and self.sliding_window < 0:
            raise ValueError(
                f"window: expected at least 0 tokens, got {self.sliding_window}"
            )
        if self.rope_scaling_factor <= 0:
            raise ValueError(
                f"rope_scaling_factor: expected a number > 0, got {self.rope_scaling_factor}"
            )
        if self.position_embedding == "rope":
            self.rope_frequencies()
        elif self.rope_scaling != "none":
            raise ValueError(
                f"rope_scaling: expected none with {self.position_embedding} positions, got "
                f"{self.rope_scaling} (only rotary positions are stretched)"
            )

    def rope_frequencies(self) -> frequencies.Frequencies:
        """Radians a position of every pair of a head's components, stretched."""
        plain = frequencies.rope_frequencies(self.head_width, base=self.rope_theta)
        match self.rope_scaling:
            case "none":
                return plain
            case "linear":
                return plain / self.rope_scaling_factor
            case "ntk":
                return frequencies.rope_scaling_ntk(
                    plain, factor=self.rope_scaling_factor
                )
            case "parts":
                return frequencies.rope_scaling_llama3(
                    plain,
                    factor=self.rope_scaling_factor,
                    context=self.rope_original_max_length,
                )

    @property
    def head_width(self) -> int:
        """D, of queries and keys."""
        return self.d_model // self.num_heads

    @property
    def rms(self) -> bool:
        """Whether the norm is RMSNorm."""
        return self.norm == "rms"


def init_norm(config: BlockConfig) -> NormParams:
    """A norm that scales and shifts nothing yet."""
    bias = config.use_bias and not config.rms
    return NormParams(
        jnp.ones(config.d_model), jnp.zeros(config.d_model) if bias else None
    )


def init_block(
    config: BlockConfig,
    rng: Array,
    *,
    reading: str | None,
    draw: Draw,
    draw_output: Draw,
) -> BlockParams:
    """Weights of one block, as `Stack` says they are drawn."""
    M, F, D = config.d_model, config.d_ff, config.head_width
    H, N = config.num_heads, config.num_kv_heads or config.num_heads
    rngs = iter(jax.random.split(rng, 12))

    def linear(shape: tuple[int, int], draw: Draw = draw) -> LinearParams:
        bias = jnp.zeros(shape[1]) if config.use_bias else None
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
    gated = config.activation == "swiglu"
    return BlockParams(
        self_attention_norm=init_norm(config),
        attention=own,
        cross_attention_norm=read_norm,
        reading=read,
        mlp_norm=init_norm(config),
        feed=MLPParams(
            up=linear((M, F)),
            down=linear((F, M), draw_output),
            gate=linear((M, F)) if gated else None,
        ),
    )
