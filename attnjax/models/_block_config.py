"""Settings of a Transformer block, and the initialisation of its parameters."""

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

# The backward pass saves only the activation's input, [B, T, F], and recomputes the
# rest; GELU would otherwise save four more arrays per layer.
_recompute = partial(jax.checkpoint, prevent_cse=False)
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": _recompute(partial(jax.nn.gelu, approximate=False)),
    "gelu-tanh": _recompute(partial(jax.nn.gelu, approximate=True)),
    "silu": _recompute(jax.nn.silu),
    "swiglu": _recompute(jax.nn.silu),
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
    """Number of key and value heads (GQA); None means num_heads, 1 is multi-query
    attention."""
    head_dim: int | None = None
    """Width of a query or key head; None means d_model / num_heads."""
    d_ff: int = 2048
    """Width of the MLP's hidden layer."""
    activation: Literal["relu", "gelu", "gelu-tanh", "silu", "swiglu"] = "relu"
    """Activation of the MLP; swiglu is SiLU with a gate, so it has a third matrix."""
    norm: Literal["layer", "rms"] = "layer"
    """Normalisation: LayerNorm, or RMSNorm, which neither centres nor shifts."""
    pre_norm: bool = False
    """Normalise the input of a sublayer instead of the residual sum after it."""
    norm_epsilon: float = 1e-5
    """Added to the variance before the square root."""
    use_bias: bool = True
    """Whether linear maps and LayerNorms have biases, unless a field below says
    otherwise."""
    qkv_bias: bool | None = None
    """Whether the projections to queries, keys and values have biases; None means
    use_bias."""
    attention_output_bias: bool | None = None
    """Whether the output projection of attention has a bias; None means use_bias."""
    mlp_bias: bool | None = None
    """Whether the MLP has biases; None means use_bias."""
    position_embedding: Literal[
        "sinusoidal", "learned", "rope", "alibi", "relative", "none"
    ] = "sinusoidal"
    """How positions enter: added to embeddings (sinusoidal, learned), rotating queries
    and keys (rope), or as a bias of the scores (alibi, relative)."""
    rope_theta: float = 10_000.0
    """RoPE base; larger values suit longer texts."""
    rope_scaling: Literal["none", "linear", "ntk", "llama3", "yarn"] = "none"
    """How RoPE frequencies are lowered for texts longer than those trained on: all
    alike (linear), low ones more (ntk), or low ones only (llama3, yarn)."""
    rope_scaling_factor: float = 1.0
    """Factor by which the context is extended."""
    rope_original_max_length: int = 8192
    """Context length before it is extended; used by llama3 and yarn scaling."""
    rope_low_freq_factor: float = 1.0
    """Rotations within the original context below which llama3 scaling divides a
    frequency by the factor."""
    rope_high_freq_factor: float = 4.0
    """Rotations within the original context above which llama3 scaling leaves a
    frequency unchanged."""
    rope_beta_fast: float = 32.0
    """Rotations within the original context above which yarn scaling leaves a
    frequency unchanged."""
    rope_beta_slow: float = 1.0
    """Rotations within the original context below which yarn scaling divides a
    frequency by the factor."""
    rope_truncate: bool = True
    """Whether the ramp of yarn scaling, between its two betas, begins and ends at whole
    indices of frequencies."""
    rope_attention_factor: float | None = None
    """Multiplier of rotated queries and keys in yarn scaling; None means
    0.1 ln(rope_scaling_factor) + 1, as in the paper."""
    sliding_window: int | None = None
    """Number of tokens before its own that a decoder position attends to; None means
    all of them."""
    logit_softcap: float | None = None
    """Bound on the scores of self-attention: cap * tanh(score / cap)."""
    dropout: float = 0.0
    """Dropout rate of embeddings and sublayer outputs, in training."""
    remat: Literal["none", "dots", "all"] = "none"
    """What the backward pass recomputes: nothing, all except matmuls, or everything."""

    def check(self) -> None:
        """Checks that the settings fit together.

        Raises:
          ValueError: naming the first that does not.
        """
        if self.head_dim is None and self.d_model % self.num_heads:
            raise ValueError(
                f"num_heads: expected a divisor of d_model = {self.d_model}, got "
                f"{self.num_heads} (or set head_dim)"
            )
        if self.head_dim is not None and self.head_dim < 1:
            raise ValueError(f"head_dim: expected at least 1, got {self.head_dim}")
        if self.num_heads % self.kv_heads:
            raise ValueError(
                f"num_kv_heads: expected a divisor of num_heads = {self.num_heads}, "
                f"got {self.num_kv_heads}"
            )
        if self.sliding_window is not None and self.sliding_window < 0:
            raise ValueError(
                f"sliding_window: expected at least 0 tokens, got {self.sliding_window}"
            )
        self._check_positions()

    def _check_positions(self) -> None:
        """Checks the settings of positions."""
        if self.position_embedding == "rope" and self.resolved_head_dim % 2:
            raise ValueError(
                f"head_dim: expected an even number (RoPE rotates pairs of "
                f"components), got {self.resolved_head_dim}"
            )
        if self.position_embedding == "sinusoidal" and self.d_model % 2:
            raise ValueError(
                f"d_model: expected an even number (sinusoidal positions are pairs of "
                f"sine and cosine), got {self.d_model}"
            )
        if self.rope_scaling_factor <= 0:
            raise ValueError(
                f"rope_scaling_factor: expected a number > 0, got "
                f"{self.rope_scaling_factor}"
            )
        if self.rope_attention_factor is not None and (
            self.rope_scaling != "yarn" or self.rope_attention_factor <= 0
        ):
            raise ValueError(
                f"rope_attention_factor: expected a number > 0 with yarn scaling, else "
                f"None, got {self.rope_attention_factor} with {self.rope_scaling}"
            )
        if self.position_embedding == "rope":
            self.rope_frequencies()
        elif self.rope_scaling != "none":
            raise ValueError(
                f"rope_scaling: expected none with {self.position_embedding} "
                f"positions, got {self.rope_scaling} (only RoPE is scaled)"
            )

    def rope_frequencies(self) -> frequencies.Frequencies:
        """Scaled RoPE frequencies, in radians a position, for every pair of a head."""
        unscaled = frequencies.rope_frequencies(
            self.resolved_head_dim, theta=self.rope_theta
        )
        match self.rope_scaling:
            case "none":
                return unscaled
            case "linear":
                return unscaled / self.rope_scaling_factor
            case "ntk":
                return frequencies.rope_scaling_ntk(
                    unscaled, factor=self.rope_scaling_factor
                )
            case "llama3":
                return frequencies.rope_scaling_llama3(
                    unscaled,
                    factor=self.rope_scaling_factor,
                    original_max_length=self.rope_original_max_length,
                    low_freq_factor=self.rope_low_freq_factor,
                    high_freq_factor=self.rope_high_freq_factor,
                )
            case "yarn":
                return frequencies.rope_scaling_yarn(
                    unscaled,
                    factor=self.rope_scaling_factor,
                    original_max_length=self.rope_original_max_length,
                    beta_fast=self.rope_beta_fast,
                    beta_slow=self.rope_beta_slow,
                    truncate=self.rope_truncate,
                )

    @property
    def rope_attention_scale(self) -> float:
        """What rotated queries and keys are multiplied by, whether set or derived."""
        if self.rope_scaling != "yarn":
            return 1.0
        if self.rope_attention_factor is not None:
            return self.rope_attention_factor
        return frequencies.yarn_attention_factor(self.rope_scaling_factor)

    @property
    def resolved_head_dim(self) -> int:
        """D, the width of a query or key head, whether set or derived."""
        return self.head_dim or self.d_model // self.num_heads

    @property
    def kv_heads(self) -> int:
        """N, the number of key and value heads, whether set or derived."""
        return self.num_kv_heads or self.num_heads

    @property
    def rms(self) -> bool:
        """Whether the normalisation is RMSNorm."""
        return self.norm == "rms"


def init_norm(config: BlockConfig) -> NormParams:
    """Initialises a normalisation: scale 1, shift 0."""
    bias = config.use_bias and not config.rms
    return NormParams(
        jnp.ones(config.d_model), jnp.zeros(config.d_model) if bias else None
    )


def init_block(
    config: BlockConfig,
    rng: Array,
    *,
    cross_attention_score: str | None,
    draw: Draw,
    draw_output: Draw,
) -> BlockParams:
    """Initialises the parameters of one block; for the arguments see `Stack`."""
    M, F, D = config.d_model, config.d_ff, config.resolved_head_dim
    H, N = config.num_heads, config.kv_heads
    rngs = iter(jax.random.split(rng, 12))

    def linear(
        shape: tuple[int, int], bias: bool | None, draw: Draw = draw
    ) -> LinearParams:
        has_bias = config.use_bias if bias is None else bias
        return LinearParams(
            draw(next(rngs), shape), jnp.zeros(shape[1]) if has_bias else None
        )

    def attention(score: Tree) -> AttentionParams:
        return AttentionParams(
            query=linear((M, H * D), config.qkv_bias),
            keys=linear((M, N * D), config.qkv_bias),
            values=linear((M, N * D), config.qkv_bias),
            output=linear((H * D, M), config.attention_output_bias, draw_output),
            score=score,
        )

    self_attention = attention(None)
    cross_attention, cross_attention_norm = None, None
    if cross_attention_score is not None:
        init = HEAD_SCORES[cross_attention_score].init
        cross_attention = attention(None if init is None else init(next(rngs), H, D))
        cross_attention_norm = init_norm(config)
    gated = config.activation == "swiglu"
    return BlockParams(
        self_attention_norm=init_norm(config),
        self_attention=self_attention,
        cross_attention_norm=cross_attention_norm,
        cross_attention=cross_attention,
        mlp_norm=init_norm(config),
        mlp=MLPParams(
            up=linear((M, F), config.mlp_bias),
            down=linear((F, M), config.mlp_bias, draw_output),
            gate=linear((M, F), config.mlp_bias) if gated else None,
        ),
    )
