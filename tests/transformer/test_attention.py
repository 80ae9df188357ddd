"""The attention slot: another function in its place, structural masks, weights."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.core import scores
from attnjax.models._block_config import BlockConfig
from attnjax.models.gpt import GPT, GPTConfig
from attnjax.models.state import split
from attnjax.models.transformer import Transformer, TransformerConfig
from attnjax.transformer import stack as stacks
from attnjax.transformer.attention import Attention

pytestmark = pytest.mark.versions

V, B, T, L = 13, 2, 7, 3
BLOCK = BlockConfig(
    d_model=12,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    d_ff=5,
    pre_norm=True,
    position_embedding="rope",
    sliding_window=3,
)
TOKENS = np.random.default_rng(0).integers(0, V, (B, T))
SEGMENTS = np.array([[0] * 3 + [1] * 4, [0] * 5 + [1] * 2])
# 50 roundings in three blocks, in float32.
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def structured(query, keys, values, mask, *, bias, score, score_params):
    """`jax.nn` with the causal window as a structure, where index order allows it."""
    assert score is scores.scaled_dot
    assert score_params is None
    if not mask.in_order:  # a KV cache
        return jax.nn.dot_product_attention(
            query, keys, values, bias=bias, mask=mask.to_dense()
        )
    segments = None
    if mask.query_segments is not None:
        same = mask.query_segments[:, :, None] == mask.key_segments[:, None]
        segments = same[:, None]  # [B, T, S] -> [B, 1, T, S]
    window = None if mask.sliding_window is None else (mask.sliding_window, 0)
    return jax.nn.dot_product_attention(
        query,
        keys,
        values,
        bias=bias,
        mask=segments,
        is_causal=mask.causal,
        local_window_size=window,
    )


def the_structure(mask):
    """Passes the mask on without making it dense."""
    return mask


def refused(mask):
    raise AssertionError("the dense mask was built")


FUSED = Attention(structured, the_structure)


@cache
def gpt(attention=None, **changes):
    """A GPT as functions of its parameters, with the default attention or another."""
    block = dataclasses.replace(BLOCK, **changes)
    config = GPTConfig(vocab_size=V, num_layers=L, max_length=T, block=block)
    options = {} if attention is None else {"attention": attention}
    return split(GPT(config, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("window", [None, 3])
def test_another_attention_function_gives_the_same_logits(packed, window):
    segments = SEGMENTS if packed else None

    def loss(rebuild, params):
        logits, weights = rebuild(params)(TOKENS, segments=segments)
        return (logits**2).sum(), (logits, weights)

    (plain, params), (other, _) = (gpt(a, sliding_window=window) for a in (None, FUSED))
    want, got = (
        jax.jit(jax.grad(lambda p, r=rebuild: loss(r, p), has_aux=True))(params)
        for rebuild in (plain, other)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), got, want)


def test_another_attention_function_decodes_through_the_cache():
    (plain, params), (other, _) = gpt(), gpt(FUSED)
    want, _ = plain(params)(TOKENS)
    model = other(params)
    cache_, logits = model.prefill(model.start(B), TOKENS[:, :4])
    np.testing.assert_allclose(logits, want[:, :4], **CLOSE)
    for t in range(4, T):
        cache_, logits, _ = model.step(cache_, TOKENS[:, t])
        np.testing.assert_allclose(logits, want[:, t], **CLOSE)


def test_a_structural_mask_is_never_made_dense(monkeypatch):
    """Neither in the forward pass nor in the backward pass of training."""
    rebuild, params = gpt(FUSED, sliding_window=5)
    monkeypatch.setattr("attnjax.core.masks.AttentionMask.to_dense", refused)

    def loss(params):
        units, weights = rebuild(params).features(TOKENS)
        assert weights is None
        return (units**2).sum()

    assert np.isfinite(jax.jit(jax.value_and_grad(loss))(params)[0])


# --- weights ------------------------------------------------------------------


def stack_inputs(model):
    x = model.embedding[...][TOKENS]
    return x, jnp.broadcast_to(jnp.arange(T), TOKENS.shape)


def test_asking_for_weights_never_changes_the_output():
    rebuild, params = gpt()
    model = rebuild(params)
    x, positions = stack_inputs(model)
    plain = model.decoder(x, positions)
    asked = model.decoder(x, positions, weights_of=(0, 2))
    np.testing.assert_array_equal(asked.x, plain.x)
    assert plain.weights.shape == (0, B, T, T)
    assert asked.weights.shape == (2, B, T, T)
    np.testing.assert_allclose(asked.weights.sum(-1), 1, rtol=1e-5)


def test_weights_are_those_of_the_layers_asked_for():
    rebuild, params = gpt()
    model = rebuild(params)
    x, positions = stack_inputs(model)
    every = model.decoder(x, positions, weights_of=(0, 1, 2)).weights
    assert not np.allclose(every[0], every[1], atol=1e-3)
    for layers in ((1,), (2, 0)):
        some = model.decoder(x, positions, weights_of=layers).weights
        np.testing.assert_array_equal(some, every[np.array(layers)])


def test_a_loss_computes_no_weights(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("weights were computed")

    monkeypatch.setattr("attnjax.transformer.block.mean_head_weights", fail)
    config = TransformerConfig(
        source_vocab_size=V,
        target_vocab_size=V,
        encoder_layers=1,
        decoder_layers=2,
        block=BlockConfig(d_model=6, num_heads=3, d_ff=5),
    )
    model = Transformer(config, rngs=nnx.Rngs(0))
    units, weights = model.features(TOKENS, TOKENS >= 0, TOKENS)
    assert weights is None
    with pytest.raises(AssertionError, match="weights were computed"):
        model(TOKENS, TOKENS >= 0, TOKENS)
    assert units.shape == (B, T, 6)


def test_layers_that_do_not_exist_are_named():
    rebuild, params = gpt()
    model = rebuild(params)
    x, positions = stack_inputs(model)
    with pytest.raises(
        ValueError, match=r"^weights_of: expected layers from 0 to 2, got 3 \(count"
    ):
        model.decoder(x, positions, weights_of=(0, 3))


# --- compilation --------------------------------------------------------------


def test_eager_steps_are_traced_once(monkeypatch):
    """Also with a capped score, which is a new function each time it is made."""
    traces = []
    block = stacks.block

    def counted(*args, **options):
        traces.append(1)
        return block(*args, **options)

    monkeypatch.setattr(stacks, "block", counted)
    rebuild, params = gpt(logit_softcap=3.0, d_ff=11)  # shapes of no other test
    model = rebuild(params)
    carry, _, _ = model.step(model.start(B), TOKENS[:, 0])
    first = len(traces)
    for t in range(1, 4):
        carry, _, _ = rebuild(params).step(carry, TOKENS[:, t])
    assert first > 0
    assert len(traces) == first
