"""CTranslate2 with the parameters of an attnjax Transformer.

The model is a ctranslate2.specs.TransformerSpec, filled in as by the converters of
CTranslate2. Its matrices are [out, in]; the projections of query, keys and values are
one fused matrix.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import ctranslate2
import jax.numpy as jnp
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

from attnjax.core.positions import sinusoidal
from attnjax.models.transformer import TransformerConfig
from experiments.bench.decode_task import Batch, Ids, Task
from experiments.datasets.tokenizers.sentences import BOS, EOS, SPECIALS, UNK
from experiments.errors import UserError

Tree = Any
MAX_POSITIONS = 512  # size of the table of sinusoidal positions
ACTIVATIONS = {
    "relu": common_spec.Activation.RELU,
    "gelu": common_spec.Activation.GELU,
    "gelu-tanh": common_spec.Activation.GELUTanh,
    "silu": common_spec.Activation.SWISH,
}


def check_convertible(config: TransformerConfig) -> None:
    """Checks that the conversion to CTranslate2 supports a model.

    Raises:
      UserError: it names the first setting that is not supported.
    """
    block = config.block
    for name, got, wanted in (
        ("cross_attention_score", config.cross_attention_score, ("scaled_dot",)),
        ("block.position_embedding", block.position_embedding, ("sinusoidal",)),
        ("block.activation", block.activation, tuple(ACTIVATIONS)),
        ("block.norm", block.norm, ("layer",)),
        ("block.use_bias", block.use_bias, (True,)),
        ("block.qkv_bias", block.qkv_bias, (None, True)),
        ("block.attention_output_bias", block.attention_output_bias, (None, True)),
        ("block.mlp_bias", block.mlp_bias, (None, True)),
        ("block.num_kv_heads", block.num_kv_heads, (None, block.num_heads)),
        ("block.sliding_window", block.sliding_window, (None,)),
        ("block.logit_softcap", block.logit_softcap, (None,)),
    ):
        if got not in wanted:
            raise UserError(
                f"{name}: expected one of {', '.join(map(str, wanted))}, got {got} "
                "(the benchmark converts no other models to CTranslate2; leave it out "
                "with --systems attnjax)"
            )


def token(i: int) -> str:
    """The token of an id in CTranslate2's vocabulary."""
    return SPECIALS[i] if i < len(SPECIALS) else str(i)


def tokens(ids: Sequence[int]) -> list[str]:
    """The tokens of a sentence in CTranslate2's vocabulary."""
    return [token(int(i)) for i in ids]


def ids_of(words: Sequence[str]) -> list[int]:
    """The ids of tokens, the inverse of `tokens`."""
    return [SPECIALS.index(w) if w in SPECIALS else int(w) for w in words]


def ctranslate_decoder(
    task: Task, batches: Sequence[Batch], beam_size: int, compute_type: str
) -> Callable[[], Ids]:
    """Beam search of CTranslate2 on all cores; the first call loads the model.

    If hypotheses end with EOS, CTranslate2 gets all sentences in one call: it sorts
    them into batches itself and drops finished sentences from a batch. Otherwise it
    gets one batch per call, because the decoding length is one number per call.
    """
    options = {
        "beam_size": beam_size,
        "length_penalty": 0,
        "max_input_length": 0,
        "min_decoding_length": 0,  # the default of 1 forbids empty translations
    }
    loaded: list[ctranslate2.Translator] = []
    words = [tokens([*ids, EOS]) for ids in task.sources]
    rows = max(len(batch.indices) for batch in batches)

    def decode() -> Ids:
        if not loaded:
            cores = len(os.sched_getaffinity(0))
            loaded.append(translator(task.config, task.params, compute_type, cores))
        run = loaded[0].translate_batch
        if task.ends_with_eos:
            longest = max(batch.max_length for batch in batches)
            found = run(
                words, max_batch_size=rows, max_decoding_length=longest, **options
            )
            return [ids_of(one.hypotheses[0]) for one in found]
        results: Ids = [[] for _ in words]
        for batch in batches:
            indices = [int(i) for i in batch.indices if i >= 0]
            found = run(
                [words[i] for i in indices],
                max_decoding_length=batch.max_length,
                **options,
            )
            for i, one in zip(indices, found, strict=True):
                results[i] = ids_of(one.hypotheses[0])
        return results

    return decode


def translator(
    config: TransformerConfig, params: Tree, compute_type: str, threads: int
) -> ctranslate2.Translator:
    """Loads a model into CTranslate2.

    Args:
      config: of the model.
      params: of the model; sources must contain EOS.
      compute_type: float32, int8, ...; the parameters are quantised while loading.
      threads: number of threads per batch; batches run one after another.

    Raises:
      UserError: if the conversion does not support the model.
    """
    check_convertible(config)
    spec = _spec(config, params)
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        return ctranslate2.Translator(
            folder,
            device="cpu",
            compute_type=compute_type,
            inter_threads=1,
            intra_threads=threads,
        )


def _spec(config: TransformerConfig, params: Tree) -> transformer_spec.TransformerSpec:
    block = config.block
    spec = transformer_spec.TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        block.num_heads,
        pre_norm=block.pre_norm,
        activation=ACTIVATIONS[block.activation],
    )
    target = np.asarray(params["target_embedding"])
    shared = config.share_embeddings
    spec.encoder.embeddings[0].weight = (
        target if shared else np.asarray(params["source_embedding"])
    )
    spec.decoder.embeddings.weight = target
    spec.decoder.projection.weight = (
        target if shared else np.asarray(params["w_output"])
    )
    if config.output_bias:
        spec.decoder.projection.bias = np.asarray(params["b_output"])
    positions = np.asarray(sinusoidal(jnp.arange(MAX_POSITIONS), block.d_model))
    for side in ("encoder", "decoder"):
        _fill_stack(getattr(spec, side), params[side], positions, block.pre_norm)
    spec.config.layer_norm_epsilon = block.norm_epsilon
    spec.config.bos_token, spec.config.eos_token = token(BOS), token(EOS)
    spec.config.unk_token, spec.config.decoder_start_token = token(UNK), token(BOS)
    spec.register_source_vocabulary(tokens(range(config.source_vocab_size)))
    spec.register_target_vocabulary(tokens(range(config.target_vocab_size)))
    spec.validate()
    spec.optimize()
    return spec


def _fill_stack(spec: Any, params: Tree, positions: np.ndarray, pre_norm: bool) -> None:
    spec.position_encodings.encodings = positions
    if pre_norm:
        _fill_norm(spec.layer_norm, params["norm"])
    for i, layer in enumerate(spec.layer):
        block = _layer(params["blocks"], i)
        attention, mlp = block["self_attention"], block["mlp"]
        parts = [attention[name] for name in ("query", "keys", "values")]
        _fill_linear(layer.self_attention.linear[0], *parts)
        _fill_linear(layer.self_attention.linear[1], attention["output"])
        _fill_norm(layer.self_attention.layer_norm, block["self_attention_norm"])
        if "cross_attention" in block:
            cross = block["cross_attention"]
            _fill_linear(layer.attention.linear[0], cross["query"])
            _fill_linear(layer.attention.linear[1], cross["keys"], cross["values"])
            _fill_linear(layer.attention.linear[2], cross["output"])
            _fill_norm(layer.attention.layer_norm, block["cross_attention_norm"])
        _fill_linear(layer.ffn.linear_0, mlp["up"])
        _fill_linear(layer.ffn.linear_1, mlp["down"])
        _fill_norm(layer.ffn.layer_norm, block["mlp_norm"])


def _layer(tree: Tree, i: int) -> Tree:
    """The parameters of layer i; in the tree, layers are the leading axis."""
    if isinstance(tree, dict):
        return {name: _layer(branch, i) for name, branch in tree.items()}
    return np.asarray(tree[i])


def _fill_norm(spec: Any, params: Tree) -> None:
    spec.gamma, spec.beta = np.asarray(params["scale"]), np.asarray(params["bias"])


def _fill_linear(spec: Any, *maps: Tree) -> None:
    """Fuses linear layers that share an input into one, outputs side by side."""
    w = np.concatenate([one["w"] for one in maps], axis=1)
    spec.weight = np.ascontiguousarray(w.T)  # [in, out] -> [out, in]
    spec.bias = np.concatenate([one["b"] for one in maps])
