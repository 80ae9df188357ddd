"""Reads the Llama family: Llama, Mistral and Qwen2, whose matrices are [out, in]."""

import dataclasses
from pathlib import Path
from typing import Any

from attnjax.models.gpt import LLAMA_BLOCK, GPTConfig
from attnjax.pretrained._rope import rope_fields
from attnjax.pretrained._settings import Settings
from attnjax.pretrained._tensors import Tensors, Tree, stack_layers

# What transformers takes where config.json has no such key; its classes differ.
DEFAULTS: dict[str, dict[str, int | None]] = {
    "llama": {
        "vocab_size": 32_000,
        "intermediate_size": 11_008,
        "num_key_value_heads": None,
        "max_position_embeddings": 2048,
    },
    "mistral": {
        "vocab_size": 32_000,
        "intermediate_size": 14_336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
    },
    "qwen2": {
        "vocab_size": 151_936,
        "intermediate_size": 22_016,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32_768,
    },
}


def read(folder: Path, values: dict[str, Any], kind: str) -> tuple[GPTConfig, Tree]:
    """Reads the config and the parameters of a model with a language-model head."""
    config = _config(Settings(DEFAULTS[kind] | values), kind)
    take = Tensors(folder, prefix="model.", buffers=r"rotary_emb\.inv_freq")
    part = _Parts(take, config)
    table = (config.vocab_size, config.block.d_model)
    names = ("embed_tokens.weight", "lm_head.weight")
    params: Tree = {
        "embedding": take.tied(names if config.tie_output else names[:1], *table),
        "decoder": {
            "blocks": stack_layers(part.block, config.num_layers),
            "norm": part.norm("norm"),
        },
    }
    if not config.tie_output:
        params["w_output"] = take("lm_head.weight", *table)
    take.check_all_read()
    return config, params


def _config(settings: Settings, kind: str) -> GPTConfig:
    max_length = settings.integer("max_position_embeddings", 0)
    num_heads = settings.integer("num_attention_heads", 32)
    attention_bias, mlp_bias = kind == "qwen2", False
    if kind == "llama":
        attention_bias = settings.flag("attention_bias", False)
        mlp_bias = settings.flag("mlp_bias", False)
    if settings.get("hidden_act", "silu") not in ("silu", "swish"):
        settings.expect("hidden_act", "silu", "no other has a gated form here")
    block = dataclasses.replace(
        LLAMA_BLOCK,
        d_model=settings.integer("hidden_size", 4096),
        num_heads=num_heads,
        num_kv_heads=num_heads
        if settings.get("num_key_value_heads", None) is None
        else settings.integer("num_key_value_heads", num_heads),
        head_dim=None
        if settings.get("head_dim", None) is None
        else settings.integer("head_dim", 1),
        d_ff=settings.integer("intermediate_size", 0),
        norm_epsilon=settings.number("rms_norm_eps", 1e-6),
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias and kind == "llama",
        mlp_bias=mlp_bias,
        sliding_window=_window(settings, kind),
        **rope_fields(settings, max_length),
    )
    block.check()
    return GPTConfig(
        vocab_size=settings.integer("vocab_size", 0),
        num_layers=settings.integer("num_hidden_layers", 32),
        max_length=max_length,
        block=block,
        tie_output=settings.flag("tie_word_embeddings", False),
    )


def _window(settings: Settings, kind: str) -> int | None:
    """Returns how many tokens before its own a position attends to.

    The `sliding_window` of transformers counts the token itself.
    """
    if kind == "llama" or settings.get("sliding_window", 4096) is None:
        return None
    window = settings.integer("sliding_window", 4096) - 1
    if kind == "mistral":
        return window
    L = settings.integer("num_hidden_layers", 32)
    slides = settings.flag("use_sliding_window", False)
    first = settings.integer("max_window_layers", 28, least=0)
    layers = settings.get("layer_types", None)
    if layers is None:
        name, got = "max_window_layers", first
        sliding = [slides and i >= first for i in range(L)]
    else:
        name, got = "layer_types", layers
        sliding = [x == "sliding_attention" for x in layers]
        known = all(x in ("sliding_attention", "full_attention") for x in layers)
        if len(layers) != L or not known or (any(sliding) and not slides):
            raise ValueError(
                f"layer_types: expected sliding_attention (with use_sliding_window) or "
                f"full_attention for each of {L} layers, got {layers}"
            )
    if any(sliding) != all(sliding):
        raise ValueError(
            f"{name}: expected a sliding window in all layers or in none, got {got} "
            f"for {L} layers (layers that differ are not supported)"
        )
    return window if all(sliding) else None


class _Parts:
    """Converts the parts of the model."""

    def __init__(self, take: Tensors, config: GPTConfig) -> None:
        self.take, self.block_config = take, config.block

    def block(self, i: int) -> Tree:
        c, name = self.block_config, f"layers.{i}"
        M, F, D = c.d_model, c.d_ff, c.resolved_head_dim
        H, N = c.num_heads, c.kv_heads
        qkv, mlp = bool(c.qkv_bias), bool(c.mlp_bias)
        own = f"{name}.self_attn"
        return {
            "self_attention_norm": self.norm(f"{name}.input_layernorm"),
            "self_attention": {
                "query": self._linear(f"{own}.q_proj", M, H * D, qkv),
                "keys": self._linear(f"{own}.k_proj", M, N * D, qkv),
                "values": self._linear(f"{own}.v_proj", M, N * D, qkv),
                "output": self._linear(
                    f"{own}.o_proj", H * D, M, bool(c.attention_output_bias)
                ),
            },
            "mlp_norm": self.norm(f"{name}.post_attention_layernorm"),
            "mlp": {
                "up": self._linear(f"{name}.mlp.up_proj", M, F, mlp),
                "down": self._linear(f"{name}.mlp.down_proj", F, M, mlp),
                "gate": self._linear(f"{name}.mlp.gate_proj", M, F, mlp),
            },
        }

    def norm(self, name: str) -> Tree:
        return {"scale": self.take(f"{name}.weight", self.block_config.d_model)}

    def _linear(self, name: str, rows: int, columns: int, bias: bool) -> Tree:
        w = self.take(f"{name}.weight", columns, rows).T  # [out, in] -> [in, out]
        return {"w": w} | ({"b": self.take(f"{name}.bias", columns)} if bias else {})
