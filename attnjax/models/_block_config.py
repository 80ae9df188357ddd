"""The config of a Transformer block, and its initial parameters."""

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
Initializer = Callable[[Array, tuple[int, ...]], Array]

# Save only the activation's input and recompute the rest; GELU would otherwise save
# four more arrays of the hidden layer's width per layer.
_rematerialised = partial(jax.checkpoint, prevent_cse=False)
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": _rematerialised(partial(jax.nn.gelu, approximate=False)),
    "gelu-tanh": _rematerialised(partial(jax.nn.gelu, approximate=True)),
    "silu": _rematerialised(jax.nn.silu),
    "swiglu": _rematerialised(jax.nn.silu),
}
REMAT: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "all": jax.checkpoint_policies.nothing_saveable,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Settings of every block of a stack; the defaults are the paper's base model."""

    d_model: int = 512
    """Width of the residual stream."""
    num_heads: int = 8
    """Number of query heads."""
    num_kv_heads: int | None = None
    """Number of key and value heads, a divisor of the query heads (GQA). 1 is
    multi-query attention. None: as many as query heads."""
    d_ff: int = 2048
    """Width of the MLP's hidden layer."""
    activation: Literal["relu", "gelu", "gelu-tanh", "silu", "swiglu"] = "relu"
    """Activation of the MLP. Swiglu is silu with a gate, which adds a third matrix."""
    norm: Literal["layer", "rms"] = "layer"
    """LayerNorm, or RMSNorm, which neither centres nor shifts."""
    pre_norm: bool = False
    """Whether a sublayer normalises its input (pre-norm) or the residual sum
    (post-norm)."""
    norm_epsilon: float = 1e-5
    """Number added to the variance before the square root."""
    use_bias: bool = True
    """Whether linear layers and LayerNorms have biases."""
    position_embedding: Literal[
        "sinusoidal", "learned", "rope", "alibi", "relative", "none"
    ] = "sinusoidal"
    """How positions enter the model."""
    rope_theta: float = 10_000.0
    """Base of the RoPE wavelengths; larger values suit longer texts."""
    rope_scaling: Literal["none", "linear", "ntk", "llama3"] = "none"
    """How RoPE extends to texts longer than those trained on. Linear slows every
    frequency, ntk the low ones most, llama3 only those with few rotations."""
    rope_scaling_factor: float = 1.0
    """Factor by which RoPE scaling extends the maximum length."""
    rope_original_max_length: int = 8192
    """Maximum length in training, before scaling; used by llama3."""
    sliding_window: int | None = None
    """Number of tokens before its own that a decoder position attends to. None: all."""
    logit_softcap: float | None = None
    """Soft bound on the scores of self-attention: cap * tanh(score / cap). None: no
    bound."""
    dropout: float = 0.0
    """Fraction dropped from embeddings and from every sublayer's output in training."""
    remat: Literal["none", "dots", "all"] = "none"
    """Which activations the backward pass recomputes: none, all but the outputs of
    matrix products (dots), or all."""

    def check(self) -> None:
        """Checks that the sizes fit together.

        Raises:
          ValueError: naming the first that does not.
        """
        if self.d_model % self.num_heads:
            raise ValueError(
                f"num_heads: expected a divisor of d_model = {self.d_model}, got "
                f"{self.num_heads}"
            )
        if self.num_heads % (self.num_kv_heads or self.num_heads):
            raise ValueError(
                f"num_kv_heads: expected a divisor of num_heads = {self.num_heads}, "
                f"got {self.num_kv_heads}"
            )
        if self.position_embedding in ("sinusoidal", "rope") and self.head_dim % 2:
            raise ValueError(
                f"num_heads: expected an even d_model / num_heads, got {self.head_dim} "
                f"({self.position_embedding} positions need pairs of components)"
            )
        if self.sliding_window is not None and self.sliding_window < 0:
            raise ValueError(
                f"sliding_window: expected at least 0 tokens, got {self.sliding_window}"
            )
        if self.rope_scaling_factor <= 0:
            raise ValueError(
                "rope_scaling_factor: expected a number > 0, got "
                f"{self.rope_scaling_factor}"
            )
        if self.position_embedding == "rope":
            self.rope_frequencies()
        elif self.rope_scaling != "none":
            raise ValueError(
                f"rope_scaling: expected none, got {self.rope_scaling} (it needs "
                f"position_embedding rope, not {self.position_embedding})"
            )

    def rope_frequencies(self) -> frequencies.Frequencies:
        """RoPE frequencies of a head, in radians per position, after scaling."""
        plain = frequencies.rope_frequencies(self.head_dim, base=self.rope_theta)
        match self.rope_scaling:
            case "none":
                return plain
            case "linear":
                return plain / self.rope_scaling_factor
            case "ntk":
                return frequencies.rope_scaling_ntk(
                    plain, factor=self.rope_scaling_factor
                )
            case "llama3":
                return frequencies.rope_scaling_llama3(
                    plain,
                    factor=self.rope_scaling_factor,
                    original_max_length=self.rope_original_max_length,
                )

    @property
    def head_dim(self) -> int:
        """D, the width of queries and keys."""
        return self.d_model // self.num_heads

    @property
    def rms(self) -> bool:
        """Whether the norm is RMSNorm."""
        return self.norm == "rms"


def init_norm(config: BlockConfig) -> NormParams:
    """Initial parameters of a norm: scale 1, bias 0."""
    bias = config.use_bias and not config.rms
    return NormParams(
        jnp.ones(config.d_model), jnp.zeros(config.d_model) if bias else None
    )


def init_block(
    config: BlockConfig,
    rng: Array,
    *,
    cross_attention_score: str | None,
    initializer: Initializer,
    init_output: Initializer,
) -> BlockParams:
    """Initial parameters of one block; `Stack` documents the arguments."""
    M, F, D = config.d_model, config.d_ff, config.head_dim
    H, N = config.num_heads, config.num_kv_heads or config.num_heads
    rngs = iter(jax.random.split(rng, 12))

    def linear(
        shape: tuple[int, int], initializer: Initializer = initializer
    ) -> LinearParams:
        bias = jnp.zeros(shape[1]) if config.use_bias else None
        return LinearParams(initializer(next(rngs), shape), bias)

    def attention(score: Tree) -> AttentionParams:
        return AttentionParams(
            query=linear((M, H * D)),
            keys=linear((M, N * D)),
            values=linear((M, N * D)),
            output=linear((H * D, M), init_output),
            score=score,
        )

    self_attention = attention(None)
    cross_attention, cross_norm = None, None
    if cross_attention_score is not None:
        init = HEAD_SCORES[cross_attention_score].init
        score = None if init is None else init(next(rngs), H, D)
        cross_attention, cross_norm = attention(score), init_norm(config)
    gated = config.activation == "swiglu"
    return BlockParams(
        self_attention_norm=init_norm(config),
        self_attention=self_attention,
        cross_attention_norm=cross_norm,
        cross_attention=cross_attention,
        mlp_norm=init_norm(config),
        mlp=MLPParams(
            up=linear((M, F)),
            down=linear((F, M), init_output),
            gate=linear((M, F)) if gated else None,
        ),
    )
