"""Reads GPT-2, whose matrices are [in, out], as here."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.models.gpt import GPT2_BLOCK, GPTConfig
from attnjax.pretrained._settings import Settings
from attnjax.pretrained._tensors import Tensors, Tree, stack_layers

# Other names that transformers accepts.
ALIASES = {
    "n_embd": "hidden_size",
    "n_positions": "max_position_embeddings",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
}


def read(folder: Path, values: dict[str, Any]) -> tuple[GPTConfig, Tree]:
    """Reads the config and the parameters of a `GPT2LMHeadModel`."""
    settings = Settings(values, ALIASES)
    config = _config(settings)
    # Old files have the causal mask and the number that it puts on scores.
    buffers = r"h\.\d+\.attn\.(bias|masked_bias)"
    take = Tensors(folder, prefix="transformer.", buffers=buffers)
    part = _Parts(take, config, settings)
    table = (config.vocab_size, config.block.d_model)
    names = ("wte.weight", "lm_head.weight")
    params: Tree = {
        "embedding": take.tied(names if config.tie_output else names[:1], *table),
        "positions": take("wpe.weight", config.max_length, config.block.d_model),
        "decoder": {
            "blocks": stack_layers(part.block, config.num_layers),
            "norm": part.norm("ln_f"),
        },
    }
    if not config.tie_output:
        params["w_output"] = take("lm_head.weight", *table)
    take.check_all_read()
    return config, params


def _config(settings: Settings) -> GPTConfig:
    settings.refuse("add_cross_attention", "GPT has no encoder to attend to")
    M = settings.integer("n_embd", 768)
    block = dataclasses.replace(
        GPT2_BLOCK,
        d_model=M,
        num_heads=settings.integer("n_head", 12),
        d_ff=4 * M
        if settings.get("n_inner", None) is None
        else settings.integer("n_inner", 4 * M),
        activation=settings.activation("activation_function", "gelu_new"),
        norm_epsilon=settings.number("layer_norm_epsilon", 1e-5),
    )
    block.check()
    # It chooses where scores are rounded to float32; here they are in it throughout.
    settings.flag("reorder_and_upcast_attn", False)
    return GPTConfig(
        vocab_size=settings.integer("vocab_size", 50_257),
        num_layers=settings.integer("n_layer", 12),
        max_length=settings.integer("n_positions", 1024),
        block=block,
        tie_output=settings.flag("tie_word_embeddings", True),
    )


class _Parts:
    """Converts the parts of the model."""

    def __init__(self, take: Tensors, config: GPTConfig, settings: Settings) -> None:
        self.take = take
        self.M, self.F = config.block.d_model, config.block.d_ff
        self._head_dim = config.block.resolved_head_dim
        self._scaled = settings.flag("scale_attn_weights", True)
        self._by_layer = settings.flag("scale_attn_by_inverse_layer_idx", False)

    def block(self, i: int) -> Tree:
        M, F = self.M, self.F
        # [M, 3*M] and [3*M] -> three of [M, M] and [M]
        joined = self._linear(f"h.{i}.attn.c_attn", M, 3 * M)
        thirds = {name: np.split(x, 3, axis=-1) for name, x in joined.items()}
        attention = {
            part: {name: third[j] for name, third in thirds.items()}
            for j, part in enumerate(("query", "keys", "values"))
        }
        scale = self._query_scale(i)
        if scale != 1:
            query = attention["query"]
            attention["query"] = {name: scale * x for name, x in query.items()}
        output = self._linear(f"h.{i}.attn.c_proj", M, M)
        return {
            "self_attention_norm": self.norm(f"h.{i}.ln_1"),
            "self_attention": attention | {"output": output},
            "mlp_norm": self.norm(f"h.{i}.ln_2"),
            "mlp": {
                "up": self._linear(f"h.{i}.mlp.c_fc", M, F),
                "down": self._linear(f"h.{i}.mlp.c_proj", F, M),
            },
        }

    def norm(self, name: str) -> Tree:
        return {
            "scale": self.take(f"{name}.weight", self.M),
            "bias": self.take(f"{name}.bias", self.M),
        }

    def _query_scale(self, i: int) -> np.float32:
        """What queries are multiplied by, so that scaled dot products are the model's.

        It may leave scores unscaled, or divide those of layer i, from 0, by i + 1.
        """
        scale = 1.0 if self._scaled else self._head_dim**0.5
        return np.float32(scale / (i + 1) if self._by_layer else scale)

    def _linear(self, name: str, rows: int, columns: int) -> Tree:
        return {
            "w": self.take(f"{name}.weight", rows, columns),
            "b": self.take(f"{name}.bias", columns),
        }
