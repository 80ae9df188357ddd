"""Weights in Hugging Face's format: the same logits as the model that wrote them."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import pretrained
from attnjax.models.gpt import GPT
from attnjax.models.state import split
from attnjax.models.transformer import Transformer

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed"
)
pytest.importorskip("safetensors", reason="safetensors is not installed")
# Products and sums of widths up to 48 through four layers, in float32.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def _saved(model, folder):
    """The model with random numbers everywhere, and the folder it was written to."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:  # fixed positions are not
            torch.nn.init.normal_(parameter, std=0.4)
    model.eval().save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    config = transformers.GPT2Config(
        vocab_size=53, n_positions=17, n_embd=24, n_layer=3, n_head=3
    )
    model = transformers.GPT2LMHeadModel(config)
    return _saved(model, tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    config = transformers.MarianConfig(
        vocab_size=53,
        d_model=24,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=3,
        decoder_attention_heads=3,
        encoder_ffn_dim=44,
        decoder_ffn_dim=44,
        max_position_embeddings=19,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=52,
        eos_token_id=0,
        decoder_start_token_id=52,
    )
    model = transformers.MarianMTModel(config)
    model.final_logits_bias.copy_(torch.randn(1, 53, generator=torch.manual_seed(1)))
    return _saved(model, tmp_path_factory.mktemp("marian"))


def _rebuilt(module, read):
    config, params = read
    rebuild, fresh = split(module(config, rngs=nnx.Rngs(0)))
    shapes = {"params": params, "fresh": fresh}
    assert _shapes(shapes["params"]) == _shapes(shapes["fresh"])
    return rebuild(_arrays(params))


def _shapes(tree):
    if isinstance(tree, dict):
        return {name: _shapes(tree[name]) for name in sorted(tree)}
    return tree.shape


def _arrays(tree):
    if isinstance(tree, dict):
        return {name: _arrays(value) for name, value in tree.items()}
    return jnp.asarray(tree)


def test_a_gpt2_gives_the_logits_of_transformers(gpt2):
    theirs, folder = gpt2
    ours = _rebuilt(GPT, pretrained.gpt2(folder))
    tokens = np.random.default_rng(0).integers(0, 53, (2, 17))
    with torch.no_grad():
        want = theirs(torch.tensor(tokens)).logits.numpy()
    np.testing.assert_allclose(ours(jnp.asarray(tokens))[0], want, **CLOSE)
    assert np.abs(want).max() > 1  # numbers that could differ


def test_a_marian_gives_the_logits_of_transformers(marian):
    theirs, folder = marian
    ours = _rebuilt(Transformer, pretrained.marian(folder))
    rng = np.random.default_rng(0)
    source, previous = rng.integers(0, 52, (2, 11)), rng.integers(0, 52, (2, 7))
    mask = np.arange(11) < np.array([[11], [6]])
    with torch.no_grad():
        want = theirs(
            input_ids=torch.tensor(source),
            attention_mask=torch.tensor(mask.astype(int)),
            decoder_input_ids=torch.tensor(previous),
        ).logits.numpy()
    logits, _ = ours(jnp.asarray(source), jnp.asarray(mask), jnp.asarray(previous))
    np.testing.assert_allclose(logits, want, **CLOSE)
    assert np.abs(want).max() > 1


def test_a_folder_of_another_model_is_refused(gpt2):
    _, folder = gpt2
    with pytest.raises(ValueError, match="model_type: expected 'marian', got 'gpt2'"):
        pretrained.marian(folder)


def test_tensors_that_do_not_fit_are_named(gpt2, tmp_path):
    _, folder = gpt2
    settings = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"n_embd": 48}))
    (tmp_path / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()
    )
    with pytest.raises(
        ValueError, match=r"wte.weight: expected shape \[53, 48\], got \[53, 24\]"
    ):
        pretrained.gpt2(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(settings | {"n_layer": 4}))
    with pytest.raises(ValueError, match=r"h.3.attn.c_attn.weight: .* found none"):
        pretrained.gpt2(tmp_path)


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
        pretrained.gpt2(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors in it"):
        pretrained.gpt2(tmp_path)


def test_a_kind_of_computation_that_is_not_known_is_refused(gpt2, tmp_path):
    _, folder = gpt2
    settings = json.loads((folder / "config.json").read_text())
    settings["scale_attn_by_inverse_layer_idx"] = True
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()
    )
    with pytest.raises(
        ValueError, match="scale_attn_by_inverse_layer_idx: expected False, got True"
    ):
        pretrained.gpt2(tmp_path)


def test_an_activation_that_is_not_known_is_named(marian, tmp_path):
    _, folder = marian
    settings = json.loads((folder / "config.json").read_text())
    settings["activation_function"] = "gelu_new"
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()
    )
    with pytest.raises(ValueError, match="activation_function: expected one of"):
        pretrained.marian(tmp_path)
