"""Loads pretrained parameters in Hugging Face's format.

Each function takes a folder that `save_pretrained` wrote (config.json and
model.safetensors, in one file or several) and returns a model's config and its
parameters, in the form of `attnjax.models.state.split`. Needs the package safetensors.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.models._block_config import BlockConfig
from attnjax.models.gpt import GPT2_BLOCK, GPTConfig
from attnjax.models.transformer import TransformerConfig

Tensors = Mapping[str, np.ndarray]
Tree = Any


def gpt2(folder: str | Path) -> tuple[GPTConfig, Tree]:
    """Loads a `GPT2LMHeadModel`.

    Args:
      folder: what `save_pretrained` wrote.

    Returns:
      A config for `attnjax.GPT`, and the parameters.

    Raises:
      FileNotFoundError: if the folder has no config.json or no safetensors.
      ValueError: if it holds another kind of model, or a tensor is missing or has
        another shape than the config says.
    """
    settings, tensors = _read(Path(folder), "gpt2")
    _expect(settings, "activation_function", "gelu_new")
    _expect(settings, "scale_attn_by_inverse_layer_idx", False)
    M = settings["n_embd"]
    config = GPTConfig(
        vocab_size=settings["vocab_size"],
        num_layers=settings["n_layer"],
        max_length=settings["n_positions"],
        block=dataclasses.replace(
            GPT2_BLOCK,
            d_model=M,
            num_heads=settings["n_head"],
            d_ff=settings.get("n_inner") or 4 * M,
            norm_epsilon=settings["layer_norm_epsilon"],
        ),
    )
    take = _Taker({name.removeprefix("transformer."): x for name, x in tensors.items()})
    part = _GPT2Part(take, M, config.block.d_ff)
    params = {
        "embedding": take("wte.weight", config.vocab_size, M),
        "positions": take("wpe.weight", config.max_length, M),
        "decoder": {
            "blocks": _stacked(part.block, config.num_layers),
            "norm": part.norm("ln_f"),
        },
    }
    return config, params


def marian(folder: str | Path) -> tuple[TransformerConfig, Tree]:
    """Loads a `MarianMTModel`, such as the translators of Opus-MT.

    Pass `decoder_start_token_id` of the folder's config.json as `bos` to
    `attnjax.decode`.

    Args:
      folder: what `save_pretrained` wrote.

    Returns:
      A config for `attnjax.Transformer`, and the parameters.

    Raises:
      FileNotFoundError: if the folder has no config.json or no safetensors.
      ValueError: if it holds another kind of model, or a tensor is missing or has
        another shape than the config says.
    """
    settings, tensors = _read(Path(folder), "marian")
    for name, wanted in (
        ("scale_embedding", True),
        ("share_encoder_decoder_embeddings", True),
        ("decoder_attention_heads", settings["encoder_attention_heads"]),
        ("decoder_ffn_dim", settings["encoder_ffn_dim"]),
    ):
        _expect(settings, name, wanted)
    config = _marian_config(settings)
    vocab, M = config.target_vocab_size, config.block.d_model
    part = _MarianPart(_Taker(tensors), M, config.block.d_ff)

    def side(name: str, layers: int, *, cross: bool) -> Tree:
        block = partial(part.block, f"model.{name}.layers", cross=cross)
        return {"blocks": _stacked(block, layers)}

    params = {
        "target_embedding": part.take("model.shared.weight", vocab, M)[:, part.order],
        "b_output": part.take("final_logits_bias", 1, vocab)[0],
        "encoder": side("encoder", config.encoder_layers, cross=False),
        "decoder": side("decoder", config.decoder_layers, cross=True),
    }
    return config, params


def _marian_config(settings: dict[str, Any]) -> TransformerConfig:
    activations = {"swish": "silu", "silu": "silu", "relu": "relu", "gelu": "gelu"}
    activation = settings["activation_function"]
    if activation not in activations:
        raise ValueError(
            f"activation_function: expected one of {sorted(activations)}, "
            f"got {activation!r} (no other is supported)"
        )
    return TransformerConfig(
        source_vocab_size=settings["vocab_size"],
        target_vocab_size=settings["vocab_size"],
        encoder_layers=settings["encoder_layers"],
        decoder_layers=settings["decoder_layers"],
        max_length=settings["max_position_embeddings"],
        output_bias=True,
        block=BlockConfig(
            d_model=settings["d_model"],
            num_heads=settings["encoder_attention_heads"],
            d_ff=settings["encoder_ffn_dim"],
            activation=activations[activation],  # type: ignore[arg-type]
        ),
    )


class _Taker:
    """Looks tensors up by name and checks their shapes."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors

    def __call__(self, name: str, *shape: int) -> np.ndarray:
        if name not in self._tensors:
            raise ValueError(
                f"{name}: expected a tensor of shape {list(shape)}, found none (is "
                "the file of another model than config.json?)"
            )
        tensor = self._tensors[name]
        if tensor.shape != shape:
            raise ValueError(
                f"{name}: expected shape {list(shape)}, got {list(tensor.shape)} (the "
                "file does not fit its config.json)"
            )
        return tensor


class _GPT2Part:
    """Converts parts of a GPT-2, whose matrices are [in, out], as here."""

    def __init__(self, take: _Taker, M: int, F: int) -> None:
        self.take, self.M, self.F = take, M, F

    def block(self, i: int) -> Tree:
        M, F = self.M, self.F
        # [M, 3M] and [3M] -> three of [M, M] and [M]
        joined = self._linear(f"h.{i}.attn.c_attn", M, 3 * M)
        thirds = {name: np.split(x, 3, axis=-1) for name, x in joined.items()}
        attention = {
            part: {name: third[j] for name, third in thirds.items()}
            for j, part in enumerate(("query", "keys", "values"))
        }
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

    def _linear(self, name: str, rows: int, columns: int) -> Tree:
        return {
            "w": self.take(f"{name}.weight", rows, columns),
            "b": self.take(f"{name}.bias", columns),
        }


class _MarianPart:
    """Converts parts of a Marian model, whose positions are all sines, then cosines.

    In the paper they alternate. So the axis of the residual stream is permuted to the
    paper's order wherever it occurs, which leaves the logits unchanged.
    """

    def __init__(self, take: _Taker, M: int, F: int) -> None:
        self.take, self.M, self.F = take, M, F
        # [sines, cosines] -> sine, cosine, sine, ...
        self.order = np.arange(M).reshape(2, M // 2).T.reshape(-1)

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
        weight = self.take(f"{name}.weight", width, self.M).T
        return {"w": weight[self.order], "b": self.take(f"{name}.bias", width)}

    def _out_of(self, name: str, width: int) -> Tree:
        """A linear map into the residual stream."""
        weight = self.take(f"{name}.weight", self.M, width).T
        bias = self.take(f"{name}.bias", self.M)
        return {"w": weight[:, self.order], "b": bias[self.order]}


def _stacked(layer: Callable[[int], Tree], layers: int) -> Tree:
    """Stacks the trees of single layers to one with leaves [L, ...]."""

    def stack(trees: list[Tree]) -> Tree:
        if isinstance(trees[0], dict):
            return {name: stack([tree[name] for tree in trees]) for name in trees[0]}
        return np.stack(trees)

    return stack([layer(i) for i in range(layers)])


def _read(folder: Path, kind: str) -> tuple[dict[str, Any], Tensors]:
    """Loads the settings and the tensors of a folder."""
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file (expected a folder that save_pretrained wrote)"
        )
    settings = json.loads(path.read_text())
    _expect(settings, "model_type", kind)
    from safetensors.numpy import load_file

    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise FileNotFoundError(
            f"{folder}: no model.safetensors in it (save the model with "
            "safe_serialization=True)"
        )
    return settings, {k: x for file in files for k, x in load_file(file).items()}


def _expect(settings: dict[str, Any], name: str, wanted: Any) -> None:
    """Checks a setting that changes what the model computes."""
    got = settings.get(name, wanted)
    if got != wanted:
        raise ValueError(
            f"{name}: expected {wanted!r}, got {got!r} (no other is supported)"
        )
