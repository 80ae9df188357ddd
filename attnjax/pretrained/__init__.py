"""Loads pretrained parameters in Hugging Face's format.

`load` takes a folder that `save_pretrained` wrote (config.json and model.safetensors,
in one file or several with an index), finds the kind of model, and returns a config and
parameters in the form of `attnjax.models.state.split`; `load_model` returns the model.
Parameters are float32, whatever the dtype of the file. A setting that changes what is
computed is honoured, or refused by name; a tensor that no part of the model reads is an
error. Needs the package safetensors.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.models.gpt import GPT, GPTConfig
from attnjax.models.state import split_abstract
from attnjax.models.transformer import Transformer, TransformerConfig
from attnjax.pretrained import _gpt2, _llama, _marian
from attnjax.pretrained._settings import read_settings

Tree = Any

__all__ = ["gpt2", "llama", "load", "load_model", "marian", "mistral", "qwen2"]

_READERS: dict[str, Any] = {
    "gpt2": _gpt2.read,
    "llama": partial(_llama.read, kind="llama"),
    "marian": _marian.read,
    "mistral": partial(_llama.read, kind="mistral"),
    "qwen2": partial(_llama.read, kind="qwen2"),
}
_MODELS: dict[type, Any] = {GPTConfig: GPT, TransformerConfig: Transformer}


def load(folder: str | Path) -> tuple[GPTConfig | TransformerConfig, Tree]:
    """Loads a model of any kind that is known here, by `model_type` in config.json.

    Args:
      folder: what `save_pretrained` wrote.

    Returns:
      A config for `attnjax.GPT` (gpt2, llama, mistral, qwen2) or `attnjax.Transformer`
      (marian), and the parameters: nested dicts of float32 NumPy arrays.

    Raises:
      FileNotFoundError: if the folder lacks config.json, or a file of tensors.
      ValueError: if the kind or a setting is not supported, or a tensor is missing, is
        left over, has another shape than the config says, or is quantised.
      ImportError: if the package safetensors is not installed.
    """
    values = read_settings(Path(folder))
    kind = values.get("model_type")
    if kind not in _READERS:
        raise ValueError(
            f"model_type: expected one of {', '.join(_READERS)}, got {kind!r} (no "
            "other kind of model is supported)"
        )
    return _READERS[kind](Path(folder), values)


def load_model(folder: str | Path) -> GPT | Transformer:
    """Loads a model of any kind that is known here, ready to call.

    Args:
      folder: what `save_pretrained` wrote.

    Returns:
      The model, with its parameters on the default device.

    Raises:
      FileNotFoundError, ValueError, ImportError: as `load`.
    """
    config, params = load(folder)
    model = _MODELS[type(config)]
    rebuild, _ = split_abstract(lambda: model(config, rngs=nnx.Rngs(0)))
    return rebuild(jax.tree.map(jnp.asarray, params))


def gpt2(folder: str | Path) -> tuple[GPTConfig, Tree]:
    """Loads a `GPT2LMHeadModel`; arguments, results and errors are those of `load`."""
    return _load_kind(folder, "gpt2")


def llama(folder: str | Path) -> tuple[GPTConfig, Tree]:
    """Loads a `LlamaForCausalLM`; arguments, results and errors are those of `load`.

    Source: Touvron et al. 2023 (arXiv:2302.13971).
    """
    return _load_kind(folder, "llama")


def mistral(folder: str | Path) -> tuple[GPTConfig, Tree]:
    """Loads a `MistralForCausalLM`; arguments, results and errors are those of `load`.

    Its `sliding_window` counts the token itself, that of `BlockConfig` does not.

    Source: Jiang et al. 2023 (arXiv:2310.06825).
    """
    return _load_kind(folder, "mistral")


def qwen2(folder: str | Path) -> tuple[GPTConfig, Tree]:
    """Loads a `Qwen2ForCausalLM`; arguments, results and errors are those of `load`.

    Queries, keys and values have biases, other linear maps have none.

    Source: Yang et al. 2024 (arXiv:2407.10671).
    """
    return _load_kind(folder, "qwen2")


def marian(folder: str | Path) -> tuple[TransformerConfig, Tree]:
    """Loads a `MarianMTModel`; arguments, results and errors are those of `load`.

    Pass `decoder_start_token_id` of the folder's config.json as `bos` to
    `attnjax.decode`. Tables that are tied in the file but not in
    `attnjax.Transformer` (an output matrix that is the target embedding alone, or
    embeddings that are not scaled) are copied, and apart once they are trained.

    Source: Junczys-Dowmunt et al. 2018 (arXiv:1804.00344).
    """
    return _load_kind(folder, "marian")


def _load_kind(folder: str | Path, kind: str) -> Any:
    """Loads a model of one kind; an old config.json may not say which it is."""
    values = read_settings(Path(folder))
    got = values.get("model_type", kind)
    if got != kind:
        raise ValueError(
            f"model_type: expected {kind!r}, got {got!r} (call "
            "attnjax.pretrained.load, which takes every supported kind)"
        )
    return _READERS[kind](Path(folder), values)
