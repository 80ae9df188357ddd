"""Folders in Hugging Face's format, without transformers: numbers by loops in NumPy."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from attnjax import pretrained
from attnjax.models.gpt import GPTConfig
from attnjax.models.transformer import TransformerConfig
from tests import oracle_positions
from tests.pretrained import folders
from tests.pretrained.folders import (
    GPT2,
    LLAMA,
    MARIAN,
    MISTRAL,
    QWEN2,
    ROPE,
    D,
    T,
    V,
    tensors_of,
    write,
    write_parts,
)

pytest.importorskip("safetensors", reason="safetensors is not installed")
TOKENS = np.random.default_rng(1).integers(0, V, T)
KINDS = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "marian": MARIAN,
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def check(folder, want):
    got, _ = pretrained.load_model(folder)(jnp.asarray(TOKENS[None]))
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-4)
    assert np.abs(want).max() > 0.5


def written(tmp_path, settings, **changes):
    """A folder of these settings, and its tensors; None takes a setting out."""
    settings = {k: x for k, x in (settings | changes).items() if x is not None}
    tensors = tensors_of(settings)
    return write(tmp_path, settings, tensors), tensors


# --- numbers ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2"])
def test_the_llama_family_is_its_loops(kind, tmp_path):
    folder, tensors = written(tmp_path, KINDS[kind])
    window = 4 if kind == "mistral" else None
    check(folder, folders.llama_logits(tensors, TOKENS, window=window))


@pytest.mark.parametrize("window", [1, 3, T - 1, T])
def test_the_window_of_mistral_counts_the_token_itself(window, tmp_path):
    folder, tensors = written(tmp_path, MISTRAL, sliding_window=window)
    check(folder, folders.llama_logits(tensors, TOKENS, window=window))


GPT2_SCALES = {
    "plain": ({}, lambda i: D**-0.5),
    "unscaled": ({"scale_attn_weights": False}, lambda i: 1.0),
    "by layer": (
        {"scale_attn_by_inverse_layer_idx": True},
        lambda i: D**-0.5 / (i + 1),
    ),
}


@pytest.mark.parametrize("name", GPT2_SCALES)
def test_gpt2_is_its_loops(name, tmp_path):
    settings, scale = GPT2_SCALES[name]
    folder, tensors = written(tmp_path, GPT2, **settings)
    check(folder, folders.gpt2_logits(tensors, TOKENS, scale=scale))


def test_an_untied_gpt2_has_its_own_output_matrix(tmp_path):
    settings = GPT2 | {"tie_word_embeddings": False}
    tensors, head = tensors_of(settings), tensors_of(LLAMA, 5)["lm_head.weight"]
    write(tmp_path, settings, tensors | {"lm_head.weight": head})
    want = folders.gpt2_logits(tensors, TOKENS, output=head)
    assert np.abs(want - folders.gpt2_logits(tensors, TOKENS)).max() > 1
    check(tmp_path, want)


YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 50.0}
PLAIN = np.array(oracle_positions.frequencies(D, 50.0))


def yarn(fast, slow, context=T, truncate=True):
    return oracle_positions.yarn_frequencies(
        D, 50.0, 4.0, context, fast, slow, truncate
    )


ROPES = {  # settings, frequencies, attention factor
    "none": (None, oracle_positions.frequencies(D, 10_000.0), 1.0),
    "linear": (
        {"rope_type": "linear", "factor": 3.0} | {"rope_theta": 50.0},
        PLAIN / 3,
        1.0,
    ),
    "yarn": (YARN, yarn(32, 1), 0.1 * np.log(4.0) + 1),
    "yarn, all set": (
        YARN
        | {
            "original_max_position_embeddings": 40,
            "beta_fast": 3.0,
            "beta_slow": 0.5,
            "attention_factor": 0.7,
            "truncate": False,
        },
        yarn(3.0, 0.5, 40, False),
        0.7,
    ),
    "yarn, mscale": (
        YARN | {"mscale": 2.0, "mscale_all_dim": 0.5},
        yarn(32, 1),
        (0.2 * np.log(4.0) + 1) / (0.05 * np.log(4.0) + 1),
    ),
    "llama3": (
        {
            "rope_type": "llama3",
            "rope_theta": 50.0,
            "factor": 4.0,
            "low_freq_factor": 0.5,
            "high_freq_factor": 3.0,
            "original_max_position_embeddings": 9,
        },
        oracle_positions.banded_frequencies(PLAIN, 4.0, 9, 0.5, 3.0),
        1.0,
    ),
}


@pytest.mark.parametrize("form", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize("name", ROPES)
def test_rope_is_scaled_as_the_settings_say(name, form, tmp_path):
    rope, frequencies, factor = ROPES[name]
    settings = {k: x for k, x in LLAMA.items() if k != "rope_parameters"}
    if form == "rope_parameters":
        settings |= {"rope_parameters": rope}
    elif rope is not None:  # as transformers 4 wrote them
        settings |= {"rope_theta": rope["rope_theta"]}
        old = {k: x for k, x in rope.items() if k != "rope_theta"}
        settings |= {"rope_scaling": old | {"type": old.pop("rope_type")}}
    folder, tensors = written(tmp_path, settings)
    want = folders.llama_logits(tensors, TOKENS, frequencies=frequencies, factor=factor)
    check(folder, want)


# --- files --------------------------------------------------------------------


@each_kind
def test_the_front_door_finds_the_kind(kind, tmp_path):
    folder, _ = written(tmp_path, KINDS[kind])
    config, params = pretrained.load(folder)
    wanted = TransformerConfig if kind == "marian" else GPTConfig
    assert type(config) is wanted
    own, own_params = getattr(pretrained, kind)(folder)
    assert own == config
    jax.tree.map(np.testing.assert_array_equal, own_params, params)


@each_kind
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_parameters_are_float32(kind, dtype, tmp_path):
    kinds = {"bfloat16": ml_dtypes.bfloat16}
    tensors = {
        name: x.astype(kinds.get(dtype, dtype))
        for name, x in tensors_of(KINDS[kind]).items()
    }
    write(tmp_path, KINDS[kind], tensors)
    _, params = pretrained.load(tmp_path)
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}
    # A norm keeps its numbers; those of a Marian are in another order.
    norms = [x for name, x in tensors.items() if "norm" in name or "ln_1" in name]
    leaves = np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])
    assert np.isin(np.float32(norms[0]), leaves).all()


def halves(tensors):
    names = sorted(tensors)
    return [{n: tensors[n] for n in part} for part in (names[::2], names[1::2])]


def test_the_files_of_the_index_are_read_and_no_others(tmp_path):
    from safetensors.numpy import save_file

    tensors = tensors_of(LLAMA)
    write_parts(tmp_path, LLAMA, halves(tensors))
    for stray in ("model.ema.safetensors", "model.safetensors", "model-7.safetensors"):
        other = {name: x + 1 for name, x in tensors.items()}
        save_file(other | {"extra": np.ones(3)}, tmp_path / stray)
    check(tmp_path, folders.llama_logits(tensors, TOKENS))


def test_without_an_index_model_safetensors_is_read_alone(tmp_path):
    from safetensors.numpy import save_file

    folder, tensors = written(tmp_path, LLAMA)
    other = {name: x + 1 for name, x in tensors.items()}
    save_file(other, tmp_path / "model.ema.safetensors")
    check(folder, folders.llama_logits(tensors, TOKENS))


def test_the_index_decides_between_two_files_with_one_name(tmp_path):
    from safetensors.numpy import save_file

    tensors = tensors_of(LLAMA)
    parts = halves(tensors)
    write_parts(tmp_path, LLAMA, parts)
    wrong = {name: x + 1 for name, x in tensors.items()}
    save_file(wrong | parts[1], tmp_path / "model-00002-of-00002.safetensors")
    check(tmp_path, folders.llama_logits(tensors, TOKENS))


def test_a_missing_file_or_tensor_of_the_index_is_named(tmp_path):
    from safetensors.numpy import save_file

    parts = halves(tensors_of(LLAMA))
    write_parts(tmp_path, LLAMA, parts)
    last = tmp_path / "model-00002-of-00002.safetensors"
    gone = next(iter(parts[1]))
    save_file({k: x for k, x in parts[1].items() if k != gone}, last)
    with pytest.raises(ValueError, match=f"^{gone}: expected it in {last.name}, as"):
        pretrained.load(tmp_path)
    last.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"00002\.safetensors: no such file, thou"
    ):
        pretrained.load(tmp_path)


@pytest.mark.parametrize(
    "index", ["[]", "{", '{"weight_map": {}}', '{"weight_map": {"a": "../b"}}']
)
def test_a_damaged_index_is_named(index, tmp_path):
    folder, _ = written(tmp_path, LLAMA)
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(
        ValueError, match=r"index.json: expected weight_map, from names"
    ):
        pretrained.load(folder)


def test_a_damaged_file_is_named(tmp_path):
    folder, _ = written(tmp_path, LLAMA)
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs\n" * 9)
    with pytest.raises(ValueError, match=r"model.safetensors: expected a file in safe"):
        pretrained.load(folder)


# --- tensors ------------------------------------------------------------------


@each_kind
def test_a_tensor_left_unread_is_named(kind, tmp_path):
    tensors = tensors_of(KINDS[kind]) | {"score.weight": np.ones((2, 3), np.float32)}
    write(tmp_path, KINDS[kind], tensors)
    with pytest.raises(ValueError, match=r"^score\.weight: expected no tensors beside"):
        pretrained.load(tmp_path)


def test_a_layer_more_than_the_config_says_is_named(tmp_path):
    write(tmp_path, LLAMA | {"num_hidden_layers": 1}, tensors_of(LLAMA))
    with pytest.raises(ValueError, match=r"^layers\.1\..*, got 9 \(they would change"):
        pretrained.load(tmp_path)


@pytest.mark.parametrize("part", ["o_proj", "q_proj"])
def test_a_bias_that_the_config_does_not_have_is_named(part, tmp_path):
    name = f"layers.0.self_attn.{part}.bias"
    extra = {f"model.{name}": np.ones(12, np.float32)}
    write(tmp_path, LLAMA, tensors_of(LLAMA) | extra)
    with pytest.raises(ValueError, match=f"^{name}: expected no tensors beside those"):
        pretrained.load(tmp_path)


BUFFERS = {
    "gpt2": ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"],
    "llama": ["model.layers.0.self_attn.rotary_emb.inv_freq"],
    "qwen2": ["model.rotary_emb.inv_freq"],
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_buffers_that_are_no_parameters_may_be_there(kind, tmp_path):
    settings = KINDS[kind]
    extra = {name: np.ones((1, 1, 3, 3), np.uint8) for name in BUFFERS[kind]}
    write(tmp_path, settings, tensors_of(settings) | extra)
    pretrained.load(tmp_path)


TIED = {  # settings, the tensor that is tied, its other name
    "gpt2": (GPT2, "transformer.wte.weight", "lm_head.weight"),
    "llama": (
        LLAMA | {"tie_word_embeddings": True},
        "model.embed_tokens.weight",
        "lm_head.weight",
    ),
    "marian": (MARIAN, "model.shared.weight", "lm_head.weight"),
    "marian, decoder": (
        MARIAN,
        "model.shared.weight",
        "model.decoder.embed_tokens.weight",
    ),
}


@pytest.mark.parametrize("name", TIED)
def test_one_of_two_tied_tensors_is_enough(name, tmp_path):
    settings, first, second = TIED[name]
    tensors = {k: x for k, x in tensors_of(settings).items() if k != "lm_head.weight"}
    _, want = pretrained.load(write(tmp_path / "first", settings, tensors))
    both = tensors | {second: tensors[first]}
    other = {k: x for k, x in both.items() if k != first}
    for folder, kept in (("both", both), ("second", other)):
        _, got = pretrained.load(write(tmp_path / folder, settings, kept))
        jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize("name", TIED)
def test_tied_tensors_that_differ_are_refused(name, tmp_path):
    settings, first, second = TIED[name]
    tensors = tensors_of(settings)
    write(tmp_path, settings, tensors | {second: tensors[first] + 1})
    with pytest.raises(ValueError, match=r"^tie_word_embeddings: expected .* to equal"):
        pretrained.load(tmp_path)


def test_an_untied_model_without_an_output_matrix_is_refused(tmp_path):
    tensors = {k: x for k, x in tensors_of(LLAMA).items() if k != "lm_head.weight"}
    write(tmp_path, LLAMA, tensors)
    with pytest.raises(
        ValueError, match=r"^lm_head.weight: expected a tensor of shape"
    ):
        pretrained.load(tmp_path)


def test_a_base_model_without_prefix_is_read(tmp_path):
    tensors = {k.removeprefix("transformer."): x for k, x in tensors_of(GPT2).items()}
    write(tmp_path, GPT2, tensors)
    check(tmp_path, folders.gpt2_logits(tensors, TOKENS))


def test_quantised_tensors_are_refused(tmp_path):
    tensors = tensors_of(LLAMA)
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].astype(np.int8)
    write(tmp_path, LLAMA, tensors)
    with pytest.raises(ValueError, match=r"up_proj.weight: expected one of the dtypes"):
        pretrained.load(tmp_path)


@pytest.mark.parametrize("good", [True, False])
def test_a_table_of_positions_in_a_marian_file_is_the_sines(good, tmp_path):
    M = MARIAN["d_model"]
    sines = np.array(
        [
            [
                (np.sin if i < M // 2 else np.cos)(
                    t / 10_000 ** (2 * (i % (M // 2)) / M)
                )
                for i in range(M)
            ]
            for t in range(T)
        ],
        np.float32,
    )
    name = "model.encoder.embed_positions.weight"
    write(tmp_path, MARIAN, tensors_of(MARIAN) | {name: sines if good else sines[::-1]})
    if good:
        pretrained.load(tmp_path)
        return
    with pytest.raises(ValueError, match=r"embed_positions.weight: expected sines and"):
        pretrained.load(tmp_path)


# --- settings -----------------------------------------------------------------


def test_absent_settings_take_the_published_defaults(tmp_path):
    folder, _ = written(tmp_path, GPT2)  # no epsilon, no activation
    config, _ = pretrained.load(folder)
    assert config.block.norm_epsilon == 1e-5
    assert config.block.activation == "gelu-tanh"
    assert config.tie_output
    folder, _ = written(tmp_path, LLAMA, rope_parameters=None)
    config, _ = pretrained.load(folder)
    assert (config.block.norm_epsilon, config.block.rope_theta) == (1e-6, 10_000.0)
    assert not config.tie_output
    folder, _ = written(tmp_path, MISTRAL, sliding_window=None)
    assert pretrained.load(folder)[0].block.sliding_window == 4095
    (folder / "config.json").write_text(json.dumps(MISTRAL | {"sliding_window": None}))
    assert pretrained.load(folder)[0].block.sliding_window is None


def test_a_size_that_is_absent_is_the_published_one(tmp_path):
    folder, _ = written(tmp_path, GPT2, n_embd=None, n_head=None)
    with pytest.raises(ValueError, match=r"expected shape \[29, 768\], got \[29, 12\]"):
        pretrained.load(folder)


def test_other_names_of_settings_are_read(tmp_path):
    other = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers"}
    settings = {other.get(name, name): x for name, x in GPT2.items()}
    tensors = tensors_of(GPT2)
    check(write(tmp_path, settings, tensors), folders.gpt2_logits(tensors, TOKENS))


REFUSED = {
    "cross-attention": (
        GPT2,
        {"add_cross_attention": True},
        "add_cross_attention: exp",
    ),
    "activation": (
        GPT2,
        {"activation_function": "quick_gelu"},
        "activation_function: expected one of relu, .*, got 'quick_gelu'",
    ),
    "width": (GPT2, {"n_embd": 13}, "num_heads: expected a divisor of d_model = 13"),
    "text": (GPT2, {"n_layer": "2"}, "n_layer: expected a whole number >= 1, got '2'"),
    "epsilon": (
        GPT2,
        {"layer_norm_epsilon": 0},
        "layer_norm_epsilon: expected a number > 0, got 0",
    ),
    "tie": (
        GPT2,
        {"tie_word_embeddings": 1},
        "tie_word_embeddings: expected true or f",
    ),
    "quantised": (
        LLAMA,
        {"quantization_config": {"bits": 4}},
        "quantization_config: expected none, got {'bits': 4}",
    ),
    "pruned": (GPT2, {"pruned_heads": {"0": [1]}}, "pruned_heads: expected none, got"),
    "gated gelu": (LLAMA, {"hidden_act": "gelu"}, "hidden_act: expected 'silu', got"),
    "dynamic": (
        LLAMA,
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        r"rope_scaling.rope_type: expected one of .*, got 'dynamic' \(its frequencies",
    ),
    "longrope": (
        LLAMA,
        {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1.0}},
        "rope_parameters.rope_type: expected one of default, linear, llama3, yarn, got",
    ),
    "factor": (
        LLAMA,
        {"rope_parameters": {"rope_type": "linear"}},
        "rope_parameters.factor: expected a number > 0, got None",
    ),
    "bands": (
        LLAMA,
        {"rope_scaling": {"rope_type": "llama3", "factor": 2.0}},
        "rope_scaling.low_freq_factor: expected a number > 0, got None",
    ),
    "partial": (
        LLAMA,
        {"partial_rotary_factor": 0.5},
        "partial_rotary_factor: expected 1, got 0.5 in config.json",
    ),
    "per layer": (
        LLAMA,
        {"rope_parameters": {"full_attention": ROPE}},
        "rope_parameters: expected one object for all layers",
    ),
    "window": (
        MISTRAL,
        {"sliding_window": 0},
        "sliding_window: expected a whole number",
    ),
    "some layers": (
        QWEN2,
        {"use_sliding_window": True, "max_window_layers": 1},
        "max_window_layers: expected a sliding window in all layers or in none, got 1",
    ),
    "layer types": (
        QWEN2,
        {"layer_types": ["sliding_attention", "sliding_attention"]},
        "layer_types: expected sliding_attention .with use_sliding_window. or",
    ),
    "decoder heads": (
        MARIAN,
        {"decoder_attention_heads": 4},
        "decoder_attention_heads: expected 3, got 4 .as the encoder",
    ),
    "decoder width": (
        MARIAN,
        {"decoder_ffn_dim": 5},
        "decoder_ffn_dim: expected 17, got",
    ),
    "pre-norm": (
        MARIAN,
        {"normalize_before": True},
        "normalize_before: expected False",
    ),
    "embedding": (
        MARIAN,
        {"normalize_embedding": True},
        "normalize_embedding: expected",
    ),
    "last norm": (
        MARIAN,
        {"add_final_layer_norm": True},
        "add_final_layer_norm: expect",
    ),
    "positions": (
        MARIAN,
        {"static_position_embeddings": False},
        "static_position_embeddings: expected True, got False",
    ),
    "kind": (
        LLAMA,
        {"model_type": "bert"},
        "model_type: expected one of gpt2, llama, m",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_are_not_supported_are_refused_by_name(name, tmp_path):
    settings, changes, message = REFUSED[name]
    write(tmp_path, settings, tensors_of(settings))
    (tmp_path / "config.json").write_text(json.dumps(settings | changes))
    with pytest.raises(ValueError, match=f"^{message}"):
        pretrained.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "nonsense"])
def test_a_config_that_is_none_is_named(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"config\.json: expected (JSON|an object), got"
    ):
        pretrained.load(tmp_path)


def test_a_folder_of_another_model_is_refused(tmp_path):
    folder, _ = written(tmp_path, GPT2)
    with pytest.raises(ValueError, match="model_type: expected 'marian', got 'gpt2'"):
        pretrained.marian(folder)


def test_a_reader_of_one_kind_needs_no_model_type(tmp_path):
    folder, _ = written(tmp_path, GPT2)
    values = {k: x for k, x in GPT2.items() if k != "model_type"}
    (folder / "config.json").write_text(json.dumps(values))
    config, _ = pretrained.gpt2(folder)
    assert config.vocab_size == V
    with pytest.raises(ValueError, match=r"model_type: expected one of .*, got None"):
        pretrained.load(folder)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    folder, _ = written(tmp_path, GPT2)
    (folder / "config.json").write_text(json.dumps(GPT2 | {"n_embd": 48}))
    with pytest.raises(
        ValueError, match=r"^wte.weight: expected shape \[29, 48\], got \[29, 12\]"
    ):
        pretrained.gpt2(folder)
    (folder / "config.json").write_text(json.dumps(GPT2 | {"n_layer": 4}))
    with pytest.raises(ValueError, match=r"h.2.attn.c_attn.weight: .* found none"):
        pretrained.gpt2(folder)


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
        pretrained.gpt2(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors in it"):
        pretrained.gpt2(tmp_path)
