"""Folders that transformers writes: the same logits, over the settings it consults."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import pretrained

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip(
    "transformers", minversion="5", reason="transformers 5 is not installed"
)
pytest.importorskip("safetensors", reason="safetensors is not installed")
# Products and sums of widths up to 48 through four layers, in float32.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
V = 53


def saved(model, folder):
    """The model with random numbers everywhere, and the folder it was written to."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:  # fixed positions are not
            torch.nn.init.normal_(parameter, std=0.4)
    model.eval().save_pretrained(folder)
    return model


def change(folder, **settings):
    """Changes settings of a folder's config.json; None takes one out."""
    path = folder / "config.json"
    values = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({k: x for k, x in values.items() if x is not None}))


def check_logits(theirs, folder, length=17):
    """Compares a model of text."""
    tokens = np.random.default_rng(0).integers(0, V, (2, length))
    with torch.no_grad():
        want = theirs(torch.tensor(tokens)).logits.numpy()
    got, _ = pretrained.load_model(folder)(jnp.asarray(tokens))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, **CLOSE)
    assert np.abs(want).max() > 1  # numbers that could differ


# --- GPT-2 --------------------------------------------------------------------


def gpt2(**settings):
    sizes = {"vocab_size": V, "n_positions": 17, "n_embd": 24, "n_layer": 3}
    config = transformers.GPT2Config(**sizes, n_head=3, **settings)
    return transformers.GPT2LMHeadModel(config)


GPT2 = {
    "plain": {},
    "untied": {"tie_word_embeddings": False},
    "unscaled": {"scale_attn_weights": False},
    "by layer": {"scale_attn_by_inverse_layer_idx": True},
    "unscaled, by layer": {
        "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True,
    },
    "upcast": {
        "reorder_and_upcast_attn": True,
        "scale_attn_by_inverse_layer_idx": True,
        "attn_implementation": "eager",
    },
    "n_inner": {"n_inner": 31},
    "epsilon": {"layer_norm_epsilon": 0.3},
    **{
        name: {"activation_function": name}
        for name in ("relu", "silu", "swish", "gelu", "gelu_fast", "gelu_accurate")
    },
}


@pytest.mark.parametrize("name", GPT2)
def test_a_gpt2_gives_the_logits_of_transformers(name, tmp_path):
    theirs = saved(gpt2(**GPT2[name]), tmp_path)
    check_logits(theirs, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"add_cross_attention": True}, "add_cross_attention: expected none, got True"),
        (
            {"activation_function": "quick_gelu"},
            "activation_function: expected one of .*, got 'quick_gelu'",
        ),
    ],
)
def test_a_gpt2_of_another_kind_is_refused_by_name(settings, message, tmp_path):
    saved(gpt2(**settings), tmp_path)
    with pytest.raises(ValueError, match=message):
        pretrained.load(tmp_path)


def test_a_gpt2_with_a_classifier_is_refused_by_its_tensor(tmp_path):
    config = transformers.GPT2Config(vocab_size=V, n_embd=24, n_layer=1, n_head=3)
    saved(transformers.GPT2ForSequenceClassification(config), tmp_path)
    with pytest.raises(ValueError, match=r"score\.weight: expected no tensors beside"):
        pretrained.load(tmp_path)


def test_a_gpt2_without_a_head_is_tied(tmp_path):
    whole = gpt2()
    whole.transformer.save_pretrained(tmp_path / "base")
    config, params = pretrained.gpt2(tmp_path / "base")
    assert config.tie_output
    want = whole.transformer.wte.weight.detach().numpy()
    np.testing.assert_array_equal(params["embedding"], want)


# --- the Llama family ---------------------------------------------------------

FAMILY = {
    "vocab_size": V,
    "hidden_size": 24,
    "intermediate_size": 31,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "original_max_position_embeddings": 8,
}
LLAMA = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "head_dim": {"head_dim": 10},
    "all heads": {"num_key_value_heads": None},
    "biases of attention": {"attention_bias": True},
    "biases of the MLP": {"mlp_bias": True},
    "all biases": {"mlp_bias": True, "attention_bias": True},
    "epsilon": {"rms_norm_eps": 0.2},
    "theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 77.0}},
    "linear": {"rope_parameters": {"rope_type": "linear", "factor": 3.0}},
    "llama3": {"rope_parameters": LLAMA3},
    "yarn": {"rope_parameters": YARN},
    "yarn, ramp": {
        "rope_parameters": YARN
        | {"beta_fast": 5.0, "beta_slow": 0.3, "truncate": False}
    },
    "yarn, attention": {"rope_parameters": YARN | {"attention_factor": 0.6}},
    "yarn, mscale": {"rope_parameters": YARN | {"mscale": 2.0, "mscale_all_dim": 0.7}},
    "yarn, no original": {
        "rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 50.0}
    },
    "pretraining_tp": {"pretraining_tp": 2},
}


def llama(**settings):
    config = transformers.LlamaConfig(**FAMILY | settings)
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("name", LLAMA)
def test_a_llama_gives_the_logits_of_transformers(name, tmp_path):
    theirs = saved(llama(**LLAMA[name]), tmp_path)
    check_logits(theirs, tmp_path, length=31)


def test_rope_settings_of_transformers_4_are_read(tmp_path):
    theirs = saved(llama(rope_parameters=YARN), tmp_path)
    old = {k: x for k, x in YARN.items() if k != "rope_theta"}
    old = old | {"type": old.pop("rope_type")}
    change(tmp_path, rope_parameters=None, rope_scaling=old, rope_theta=500.0)
    check_logits(theirs, tmp_path, length=31)


@pytest.mark.parametrize("window", [1, 2, 5, 16, 40, None])
def test_a_mistral_gives_the_logits_of_transformers(window, tmp_path):
    """The window counts the token itself: at each size one more or less differs."""
    config = transformers.MistralConfig(**FAMILY, sliding_window=window)
    theirs = saved(transformers.MistralForCausalLM(config), tmp_path)
    check_logits(theirs, tmp_path, length=31)
    read, _ = pretrained.mistral(tmp_path)
    assert read.block.sliding_window == (None if window is None else window - 1)


QWEN2 = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "not used": {"sliding_window": 5},
    "all slide": {
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 0,
    },
    "none slides": {
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 3,
    },
    "yarn": {"rope_parameters": YARN},
}


def qwen2(**settings):
    config = transformers.Qwen2Config(**FAMILY | settings)
    return transformers.Qwen2ForCausalLM(config)


@pytest.mark.parametrize("written", ["layer_types", "max_window_layers"])
@pytest.mark.parametrize("name", QWEN2)
def test_a_qwen2_gives_the_logits_of_transformers(name, written, tmp_path):
    theirs = saved(qwen2(**QWEN2[name]), tmp_path)
    if written == "max_window_layers":  # as transformers 4 wrote it
        change(tmp_path, layer_types=None)
    check_logits(theirs, tmp_path, length=31)


@pytest.mark.parametrize("written", ["layer_types", "max_window_layers"])
def test_layers_of_two_kinds_are_refused(written, tmp_path):
    mixed = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
    saved(qwen2(**mixed), tmp_path)
    if written == "max_window_layers":
        change(tmp_path, layer_types=None)
    message = f"^{written}: expected a sliding window in all layers or in none, got"
    with pytest.raises(ValueError, match=message):
        pretrained.load(tmp_path)


def test_cached_steps_give_the_logits_of_transformers(tmp_path):
    config = transformers.MistralConfig(
        **FAMILY, sliding_window=4, rope_parameters=YARN
    )
    theirs = saved(transformers.MistralForCausalLM(config), tmp_path)
    model = pretrained.load_model(tmp_path)
    tokens = np.random.default_rng(0).integers(0, V, (2, 23))
    with torch.no_grad():
        want = theirs(torch.tensor(tokens)).logits.numpy()
    cache, got = model.prefill(model.start(2, 32), jnp.asarray(tokens[:, :19]))
    np.testing.assert_allclose(got, want[:, :19], **CLOSE)
    for t in range(19, 23):
        cache, got, _ = model.step(cache, jnp.asarray(tokens[:, t]))
        np.testing.assert_allclose(got, want[:, t], **CLOSE)


# --- Marian -------------------------------------------------------------------

MARIAN = {
    "plain": {},
    "unscaled": {"scale_embedding": False},
    "untied": {"tie_word_embeddings": False},
    "two vocabularies": {
        "share_encoder_decoder_embeddings": False,
        "decoder_vocab_size": 47,
        "pad_token_id": 46,
        "decoder_start_token_id": 46,
    },
    "two vocabularies, untied": {
        "share_encoder_decoder_embeddings": False,
        "decoder_vocab_size": 47,
        "pad_token_id": 46,
        "decoder_start_token_id": 46,
        "tie_word_embeddings": False,
        "scale_embedding": False,
    },
    "one vocabulary, two tables": {"share_encoder_decoder_embeddings": False},
    **{name: {"activation_function": name} for name in ("relu", "gelu", "gelu_new")},
}


def marian(**settings):
    config = transformers.MarianConfig(
        **{
            "vocab_size": V,
            "d_model": 24,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "encoder_attention_heads": 3,
            "decoder_attention_heads": 3,
            "encoder_ffn_dim": 44,
            "decoder_ffn_dim": 44,
            "max_position_embeddings": 19,
            "activation_function": "swish",
            "scale_embedding": True,
            "pad_token_id": V - 1,
            "eos_token_id": 0,
            "decoder_start_token_id": V - 1,
        }
        | settings
    )
    model = transformers.MarianMTModel(config)
    bias = torch.randn(model.final_logits_bias.shape, generator=torch.manual_seed(1))
    model.final_logits_bias.copy_(bias)
    return model


@pytest.mark.parametrize("name", MARIAN)
def test_a_marian_gives_the_logits_of_transformers(name, tmp_path):
    theirs = saved(marian(**MARIAN[name]), tmp_path)
    rng = np.random.default_rng(0)
    source, previous = rng.integers(0, V - 1, (2, 11)), rng.integers(0, 46, (2, 7))
    mask = np.arange(11) < np.array([[11], [6]])
    with torch.no_grad():
        want = theirs(
            input_ids=torch.tensor(source),
            attention_mask=torch.tensor(mask.astype(int)),
            decoder_input_ids=torch.tensor(previous),
        ).logits.numpy()
    ours = pretrained.load_model(tmp_path)
    logits, _ = ours(jnp.asarray(source), jnp.asarray(mask), jnp.asarray(previous))
    np.testing.assert_allclose(logits, want, **CLOSE)
    assert np.abs(want).max() > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"decoder_attention_heads": 4},
            r"decoder_attention_heads: expected 3, got 4 \(as the encoder",
        ),
        ({"decoder_ffn_dim": 36}, "decoder_ffn_dim: expected 44, got 36"),
        ({"activation_function": "mish"}, "activation_function: expected one of"),
    ],
)
def test_a_marian_of_another_kind_is_refused_by_name(settings, message, tmp_path):
    saved(marian(**settings), tmp_path)
    with pytest.raises(ValueError, match=message):
        pretrained.load(tmp_path)


# --- the files ----------------------------------------------------------------


def test_files_in_several_parts_are_read(tmp_path):
    theirs = gpt2(tie_word_embeddings=False)
    saved(theirs, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    theirs.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    check_logits(theirs, tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_model_saved_in_half_precision_is_read_as_float32(dtype, tmp_path):
    theirs = llama()
    saved(theirs, tmp_path)
    theirs.to(getattr(torch, dtype)).save_pretrained(tmp_path)
    check_logits(theirs.float(), tmp_path)
