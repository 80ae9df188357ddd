"""Positions, caps and sinks as others compute them, where transformers is installed."""

import importlib
import types
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import biases, frequencies, positions, scores, weights
from attnjax.core.attend import attend_heads
from attnjax.core.masks import causal
from tests.conftest import TOLERANCE
from tests.core.cases import draw

REASON = "needs torch and transformers 5, which are not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("transformers", minversion="5", reason=REASON)

B, T, S, H, D = 2, 5, 7, 3, 14
F32 = TOLERANCE["float32"]
PLACES = np.array([[0, 3, 1, 22, 7], [4, 0, 19, 2, 11]])


def model(name):
    return importlib.import_module(f"transformers.models.{name}.modeling_{name}")


def tensor(array):
    return torch.tensor(np.asarray(array))


def drawn(seed, *shape):
    return np.asarray(draw(seed, *shape), "float32")


def llama_rope(**parameters):
    """The rotary embedding of a Llama with heads of width D."""
    llama = model("llama")
    config = llama.LlamaConfig(
        hidden_size=H * D, num_attention_heads=H, rope_parameters=parameters
    )
    return llama.LlamaRotaryEmbedding(config)


def test_halves_are_rotated_as_in_llama():
    x = drawn(0, B, T, H, D)
    cos, sin = llama_rope(rope_type="default", rope_theta=500.0)(
        tensor(x), tensor(PLACES)
    )
    rotate = model("llama").apply_rotary_pos_emb
    want, _ = rotate(tensor(x), tensor(x), cos, sin, unsqueeze_dim=2)
    got = positions.apply_rope(jnp.asarray(x), PLACES, theta=500.0)
    np.testing.assert_allclose(got, want, F32, 1e-6)


def test_pairs_are_rotated_as_in_gpt_j():
    x, gptj = drawn(1, B, T, H, D), model("gptj")
    table = gptj.create_sinusoidal_positions(23, 6)[tensor(PLACES)]
    sin, cos = table.split(3, dim=-1)
    want = gptj.apply_rotary_pos_emb(tensor(x[..., :6]), sin, cos)
    part = frequencies.rope_frequencies(6)
    got = positions.apply_rope(
        jnp.asarray(x), PLACES, frequencies=part, interleaved=True
    )
    np.testing.assert_allclose(got[..., :6], want, F32, 1e-6)


def test_frequencies_are_scaled_as_in_llama():
    theta = frequencies.rope_frequencies(D, theta=500_000.0)
    common = {"rope_theta": 500_000.0, "factor": 8.0}
    linear = llama_rope(rope_type="linear", **common).inv_freq
    np.testing.assert_allclose(theta / 8, linear, F32)
    parts = llama_rope(
        rope_type="llama3",
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
        **common,
    ).inv_freq
    got = frequencies.rope_scaling_llama3(theta, factor=8, original_max_length=8192)
    np.testing.assert_allclose(got, parts, F32)


@pytest.mark.parametrize("length", [2048, 5000])  # within the context, and beyond
def test_dynamic_scaling_is_ntk_with_a_factor_that_grows(length):
    rope = llama_rope(rope_type="dynamic", rope_theta=500.0, factor=4.0)
    scale = model("llama").ROPE_INIT_FUNCTIONS["dynamic"]
    want, _ = scale(rope.config, None, seq_len=length)
    context = rope.config.max_position_embeddings
    grown = 4.0 * max(length, context) / context - 3.0
    theta = frequencies.rope_frequencies(D, theta=500.0)
    got = frequencies.rope_scaling_ntk(theta, factor=grown)
    np.testing.assert_allclose(got, want, F32)


@pytest.mark.parametrize(
    "options",
    [
        {"factor": 16.0, "original_max_position_embeddings": 4096},
        {"factor": 4.0, "original_max_position_embeddings": 32_768, "truncate": False},
        {
            "factor": 3.0,
            "original_max_position_embeddings": 77,
            "beta_fast": 8.0,
            "beta_slow": 0.5,
        },
    ],
)
def test_yarn_is_that_of_transformers(options):
    rope = llama_rope(rope_type="yarn", rope_theta=10_000.0, **options)
    theta = frequencies.rope_frequencies(D, theta=10_000.0)
    ours = {
        "original_max_length": options["original_max_position_embeddings"],
        **{k: x for k, x in options.items() if not k.startswith("original")},
    }
    got = frequencies.rope_scaling_yarn(theta, **ours)
    np.testing.assert_allclose(got, rope.inv_freq, F32)
    factor = frequencies.yarn_attention_factor(options["factor"])
    assert factor == pytest.approx(rope.attention_scaling, rel=1e-6)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_are_those_of_t5(bidirectional):
    offsets = np.arange(-600, 601)
    bucket = model("t5").T5Attention._relative_position_bucket
    want = bucket(tensor(offsets), bidirectional=bidirectional)
    got = biases.relative_buckets(
        np.array([600]), offsets + 600, bidirectional=bidirectional
    )
    np.testing.assert_array_equal(got[0], want)


@pytest.mark.parametrize("heads", [3, 8, 11])
def test_slopes_are_those_of_bloom(heads):
    """Its bias is the slope times the key's position: a row's constant apart."""
    bias = model("bloom").build_alibi_tensor(torch.ones(1, S), heads, torch.float32)
    np.testing.assert_allclose(biases.alibi_slopes(heads), bias[:, 0, 1], F32)


def attention(name, **settings):
    """What a model's own attention reads, and ours, without score or weighting."""
    q, k, v = (drawn(2 + i, B, T, H, D) for i in range(3))
    mask = causal(jnp.arange(T), jnp.arange(T))
    low = np.where(mask, 0, np.finfo("float32").min).astype("float32")
    module = types.SimpleNamespace(
        num_key_value_groups=1, training=False, head_dim=D, **settings.pop("own", {})
    )
    wanted, _ = model(name).eager_attention_forward(
        module,
        *(tensor(x).transpose(1, 2) for x in (q, k, v)),
        tensor(low),
        scaling=D**-0.5,
        **settings,
    )
    return wanted, partial(attend_heads, *map(jnp.asarray, (q, k, v)), mask=mask)


def test_scores_are_capped_as_in_gemma_2():
    want, ours = attention("gemma2", softcap=0.7)
    capped = scores.softcap(scores.scaled_dot, cap=0.7)
    np.testing.assert_allclose(ours(score=capped).context, want, F32, 1e-6)


def test_a_sink_takes_what_it_takes_in_gpt_oss():
    want, ours = attention("gpt_oss", own={"sinks": torch.full((H,), 0.3)})
    sink = partial(weights.softmax_with_sink, sink=jnp.array(0.3))
    np.testing.assert_allclose(ours(weighting=sink).context, want, F32, 1e-6)
