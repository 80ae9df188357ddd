"""Reads Marian models, such as the translators of Opus-MT; matrices are [out, in]."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.models._block_config import BlockConfig
from attnjax.models.transformer import TransformerConfig
from attnjax.pretrained._settings import Settings
from attnjax.pretrained._tensors import Tensors, Tree, stack_layers

ALIASES = {
    "d_model": "hidden_size",
    "encoder_attention_heads": "num_attention_heads",
    "encoder_layers": "num_hidden_layers",
}
# Old configs have them. transformers no longer consults them: every Marian model is
# post-norm, with sines and cosines for positions.
FIXED = {
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "static_position_embeddings": True,
    "tie_encoder_decoder": False,
}
TABLES = (
    "shared.weight",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
)
HEAD = "lm_head.weight"


def read(folder: Path, values: dict[str, Any]) -> tuple[TransformerConfig, Tree]:
    """Reads the config and the parameters of a `MarianMTModel`."""
    settings = Settings(values, ALIASES)
    for name, wanted in FIXED.items():
        settings.expect(name, wanted)
    config = _config(settings)
    take = Tensors(folder, prefix="model.", buffers="$^")
    part = _Parts(take, config.block.d_model, config.block.d_ff)

    def side(name: str, layers: int, *, cross: bool) -> Tree:
        part.check_positions(f"{name}.embed_positions.weight", config.max_length)
        block = partial(part.block, f"{name}.layers", cross=cross)
        return {"blocks": stack_layers(block, layers)}

    V, bias = config.target_vocab_size, "final_logits_bias"
    # It is no parameter of transformers, which takes 0 where a file has none.
    b_output = take(bias, 1, V)[0] if bias in take else np.zeros(V, np.float32)
    params = {
        **_tables(take, settings, config, part.order),
        "b_output": b_output,
        "encoder": side("encoder", config.encoder_layers, cross=False),
        "decoder": side("decoder", config.decoder_layers, cross=True),
    }
    take.check_all_read()
    return config, params


def _config(settings: Settings) -> TransformerConfig:
    heads = settings.integer("encoder_attention_heads", 16)
    width = settings.integer("encoder_ffn_dim", 4096)
    hint = "as the encoder: sides that differ are not supported"
    for name, default, wanted in (
        ("decoder_attention_heads", 16, heads),
        ("decoder_ffn_dim", 4096, width),
    ):
        Settings({name: settings.integer(name, default)}).expect(name, wanted, hint)
    shared = settings.flag("share_encoder_decoder_embeddings", True)
    vocab = settings.integer("vocab_size", 58_101)
    target_vocab = settings.get("decoder_vocab_size", None)
    block = BlockConfig(
        d_model=settings.integer("d_model", 1024),
        num_heads=heads,
        d_ff=width,
        activation=settings.activation("activation_function", "gelu"),
    )
    block.check()
    return TransformerConfig(
        source_vocab_size=vocab,
        target_vocab_size=vocab
        if shared or target_vocab is None
        else settings.integer("decoder_vocab_size", vocab),
        encoder_layers=settings.integer("encoder_layers", 12),
        decoder_layers=settings.integer("decoder_layers", 12),
        max_length=settings.integer("max_position_embeddings", 1024),
        # One table for all uses, and multiplied by the root of its width as an input.
        share_embeddings=shared
        and settings.flag("tie_word_embeddings", True)
        and settings.flag("scale_embedding", False),
        output_bias=True,
        block=block,
    )


def _tables(
    take: Tensors, settings: Settings, config: TransformerConfig, order: np.ndarray
) -> Tree:
    """Reads the embeddings and the output matrix, which may be tied."""
    shared = settings.flag("share_encoder_decoder_embeddings", True)
    tied = settings.flag("tie_word_embeddings", True)
    scaled = settings.flag("scale_embedding", False)
    M = config.block.d_model
    source_shape, shape = (config.source_vocab_size, M), (config.target_vocab_size, M)
    if shared and tied:
        source = target = output = take.tied((*TABLES, HEAD), *shape)
    elif shared:  # each side has its own table, or both have the shared one
        source = take.first((TABLES[1], TABLES[0], TABLES[2]), *shape)
        target = take.first((TABLES[2], TABLES[0], TABLES[1]), *shape)
        output = take(HEAD, *shape)
    else:
        source = take(TABLES[1], *source_shape)
        names = (TABLES[2], HEAD)
        target = take.tied(names, *shape) if tied else take(TABLES[2], *shape)
        output = target if tied else take(HEAD, *shape)
    # The model multiplies embeddings by the root of M: undone where theirs does not.
    scale = np.float32(1 if scaled else M**-0.5)
    if config.share_embeddings:
        return {"target_embedding": target[:, order]}
    return {
        "source_embedding": scale * source[:, order],
        "target_embedding": scale * target[:, order],
        "w_output": output[:, order],
    }


class _Parts:
    """Converts the parts of a model whose positions are all sines, then all cosines.

    In the paper they alternate. So the axis of the residual stream is permuted to the
    paper's order wherever it occurs, which leaves the logits unchanged.
    """

    def __init__(self, take: Tensors, M: int, F: int) -> None:
        self.take, self.M, self.F = take, M, F
        # [2, M/2] of sines and cosines -> [M] of sine, cosine, sine, ...
        self.order = np.arange(M).reshape(2, M // 2).T.reshape(-1)

    def check_positions(self, name: str, length: int) -> None:
        """Checks the table of positions, which some files have, to be the sines."""
        if name not in self.take:
            return
        M = self.M
        frequencies = 10_000.0 ** (-np.arange(0, M, 2) / M)
        angles = np.multiply.outer(np.arange(length), frequencies)
        sines = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        if not np.allclose(self.take(name, length, M), sines, atol=2e-3):
            raise ValueError(
                f"{name}: expected sines and cosines, got another table (learned "
                "positions of a Marian model are not supported)"
            )

    def block(self, layers: str, i: int, *, cross: bool) -> Tree:
        name = f"{layers}.{i}"
        own = {
            "self_attention_norm": self._norm(f"{name}.self_attn_layer_norm"),
            "self_attention": self._attention(f"{name}.self_attn"),
            "mlp_norm": self._norm(f"{name}.final_layer_norm"),
            "mlp": {
                "up": self._into(f"{name}.fc1", self.F),
                "down": self._out_of(f"{name}.fc2", self.F),
            },
        }
        if not cross:
            return own
        return own | {
            "cross_attention_norm": self._norm(f"{name}.encoder_attn_layer_norm"),
            "cross_attention": self._attention(f"{name}.encoder_attn"),
        }

    def _attention(self, name: str) -> Tree:
        projections = {"query": "q_proj", "keys": "k_proj", "values": "v_proj"}
        return {
            ours: self._into(f"{name}.{theirs}", self.M)
            for ours, theirs in projections.items()
        } | {"output": self._out_of(f"{name}.out_proj", self.M)}

    def _norm(self, name: str) -> Tree:
        return {
            "scale": self.take(f"{name}.weight", self.M)[self.order],
            "bias": self.take(f"{name}.bias", self.M)[self.order],
        }

    def _into(self, name: str, width: int) -> Tree:
        """A linear map from the residual stream."""
        weight = self.take(f"{name}.weight", width, self.M).T  # [F, M] -> [M, F]
        return {"w": weight[self.order], "b": self.take(f"{name}.bias", width)}

    def _out_of(self, name: str, width: int) -> Tree:
        """A linear map into the residual stream."""
        weight = self.take(f"{name}.weight", self.M, width).T  # [M, F] -> [F, M]
        bias = self.take(f"{name}.bias", self.M)
        return {"w": weight[:, self.order], "b": bias[self.order]}
