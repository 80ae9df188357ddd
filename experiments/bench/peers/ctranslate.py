"""CTranslate2 with the weights of a Transformer of ours.

Source: ctranslate2.specs.TransformerSpec, in the form its own converters fill it in.
Its matrices are [out, in]; queries, keys and values of one attention are one map.
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
from experiments.bench.cases.decoding import Batch, Ids, Task
from experiments.datasets.tokenizers.sentences import BOS, EOS, SPECIALS, UNK
from experiments.errors import UserError

Tree = Any
LONGEST = 512  # positions that are made beforehand
ACTIVATIONS = {
    "relu": common_spec.Activation.RELU,
    "gelu": common_spec.Activation.GELU,
    "gelu-tanh": common_spec.Activation.GELUTanh,
    "silu": common_spec.Activation.SWISH,
}


def check_convertible(config: TransformerConfig) -> None:
    """Checks that CTranslate2 has such a model, as far as it is written here.

    Raises:
      UserError: naming the first setting that it has not.
    """
    block = config.block
    for name, got, wanted in (
        ("cross_attention_score", config.cross_attention_score, ("scaled_dot",)),
        ("block.position_embedding", block.position_embedding, ("sinusoidal",)),
        ("block.activation", block.activation, tuple(ACTIVATIONS)),
        ("block.norm", block.norm, ("layer",)),
        ("block.use_bias", block.use_bias, (True,)),
        ("block.num_kv_heads", block.num_kv_heads, (None, block.num_heads)),
        ("block.sliding_window", block.sliding_window, (None,)),
        ("block.logit_softcap", block.logit_softcap, (None,)),
    ):
        if got not in wanted:
            raise UserError(
                f"{name}: expected one of {', '.join(map(str, wanted))}, got {got} "
                "(no other is converted for CTranslate2; --systems attnjax does "
                "without it)"
            )


def token(i: int) -> str:
    """What CTranslate2 calls an id."""
    return SPECIALS[i] if i < len(SPECIALS) else str(i)


def tokens(ids: Sequence[int]) -> list[str]:
    """What CTranslate2 calls a sentence."""
    return [token(int(i)) for i in ids]


def ids_of(words: Sequence[str]) -> list[int]:
    """The ids of what CTranslate2 has written."""
    return [SPECIALS.index(w) if w in SPECIALS else int(w) for w in words]


def ctranslate_decoder(
    task: Task, batches: Sequence[Batch], beam_size: int, compute_type: str
) -> Callable[[], Ids]:
    """CTranslate2's beam search on all cores; it is loaded on the first call.

    Where sentences end by themselves it gets all at once, sorts them itself and goes
    on with those that have not ended; else batch by batch, as a length is one for all.
    """
    options = {
        "beam_size": beam_size,
        "length_penalty": 0,
        "max_input_length": 0,
        "min_decoding_length": 0,  # by default nothing is never a translation
    }
    loaded: list[ctranslate2.Translator] = []
    words = [tokens([*ids, EOS]) for ids in task.sources]
    rows = max(len(batch.indices) for batch in batches)

    def decode() -> Ids:
        if not loaded:
            cores = len(os.sched_getaffinity(0))
            loaded.append(translator(task.config, task.params, compute_type, cores))
        run = loaded[0].translate_batch
        if task.ends:
            longest = max(batch.limit for batch in batches)
            found = run(
                words, max_batch_size=rows, max_decoding_length=longest, **options
            )
            return [ids_of(one.hypotheses[0]) for one in found]
        results: Ids = [[] for _ in words]
        for batch in batches:
            some = [int(i) for i in batch.indices if i >= 0]
            found = run(
                [words[i] for i in some], max_decoding_length=batch.limit, **options
            )
            for i, one in zip(some, found, strict=True):
                results[i] = ids_of(one.hypotheses[0])
        return results

    return decode


def translator(
    config: TransformerConfig, params: Tree, compute_type: str, threads: int
) -> ctranslate2.Translator:
    """A translator in memory, of float32 weights or of what they are rounded to.

    Args:
      config, params: the model; sources must end in EOS themselves.
      compute_type: float32, int8, ...: rounding happens while loading.
      threads: of one batch; batches come one after another.

    Raises:
      UserError: if CTranslate2 has no such model.
    """
    check_convertible(config)
    made = _spec(config, params)
    with tempfile.TemporaryDirectory() as folder:
        made.save(folder)
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
    places = np.asarray(sinusoidal(jnp.arange(LONGEST), block.d_model))
    for side in ("encoder", "decoder"):
        _fill_stack(getattr(spec, side), params[side], places, block.pre_norm)
    spec.config.layer_norm_epsilon = block.norm_epsilon
    spec.config.bos_token, spec.config.eos_token = token(BOS), token(EOS)
    spec.config.unk_token, spec.config.decoder_start_token = token(UNK), token(BOS)
    spec.register_source_vocabulary(tokens(range(config.source_vocab_size)))
    spec.register_target_vocabulary(tokens(range(config.target_vocab_size)))
    spec.validate()
    spec.optimize()
    return spec


def _fill_stack(spec: Any, params: Tree, places: np.ndarray, pre_norm: bool) -> None:
    spec.position_encodings.encodings = places
    if pre_norm:
        _fill_norm(spec.layer_norm, params["norm"])
    for i, layer in enumerate(spec.layer):
        own = _layer(params["blocks"], i)
        attention, feed = own["self_attention"], own["mlp"]
        parts = [attention[name] for name in ("query", "keys", "values")]
        _fill_linear(layer.self_attention.linear[0], *parts)
        _fill_linear(layer.self_attention.linear[1], attention["output"])
        _fill_norm(layer.self_attention.layer_norm, own["self_attention_norm"])
        if "cross_attention" in own:
            read = own["cross_attention"]
            _fill_linear(layer.attention.linear[0], read["query"])
            _fill_linear(layer.attention.linear[1], read["keys"], read["values"])
            _fill_linear(layer.attention.linear[2], read["output"])
            _fill_norm(layer.attention.layer_norm, own["cross_attention_norm"])
        _fill_linear(layer.ffn.linear_0, feed["up"])
        _fill_linear(layer.ffn.linear_1, feed["down"])
        _fill_norm(layer.ffn.layer_norm, own["mlp_norm"])


def _layer(tree: Tree, i: int) -> Tree:
    if isinstance(tree, dict):
        return {name: _layer(branch, i) for name, branch in tree.items()}
    return np.asarray(tree[i])


def _fill_norm(spec: Any, params: Tree) -> None:
    spec.gamma, spec.beta = np.asarray(params["scale"]), np.asarray(params["bias"])


def _fill_linear(spec: Any, *maps: Tree) -> None:
    """One linear map that gives what several of ours do, side by side."""
    w = np.concatenate([one["w"] for one in maps], axis=1)
    spec.weight = np.ascontiguousarray(w.T)
    spec.bias = np.concatenate([one["b"] for one in maps])
