"""GPT against loops of its paper; a KV cache changes no number."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.decode import greedy
from attnjax.models._block_config import ACTIVATIONS, BlockConfig
from attnjax.models.gpt import GPT, LLAMA_BLOCK, GPTConfig
from attnjax.models.state import split
from tests import oracle_models, oracle_transformer, oracles
from tests.models.test_transformer import along, kinds, random_like

pytestmark = pytest.mark.versions

V, T = 13, 11
GPT2 = BlockConfig(
    d_model=18,
    num_heads=3,
    d_ff=7,
    activation="gelu-tanh",
    pre_norm=True,
    position_embedding="learned",
)
ROTARY = dataclasses.replace(
    LLAMA_BLOCK, d_model=36, num_heads=6, num_kv_heads=2, d_ff=7, rope_theta=100.0
)
BLOCKS = {
    "gpt-2": GPT2,
    "rope": ROTARY,
    "window": dataclasses.replace(ROTARY, sliding_window=3),
    "alibi": dataclasses.replace(GPT2, position_embedding="alibi"),
    "relative": dataclasses.replace(
        GPT2, position_embedding="relative", sliding_window=4
    ),
    "none": dataclasses.replace(GPT2, position_embedding="none"),
    "head_dim": dataclasses.replace(ROTARY, head_dim=4, logit_softcap=2.0),
}
SCALED = {
    kind: dataclasses.replace(
        ROTARY, rope_scaling=kind, rope_scaling_factor=3.0, rope_original_max_length=40
    )
    for kind in ("linear", "ntk", "llama3", "yarn")
}
SCALED["llama3-bands"] = dataclasses.replace(
    SCALED["llama3"], rope_low_freq_factor=0.3, rope_high_freq_factor=9.0
)
SCALED["yarn-ramp"] = dataclasses.replace(
    SCALED["yarn"],
    rope_beta_fast=5.0,
    rope_beta_slow=0.2,
    rope_truncate=False,
    rope_attention_factor=0.7,
)
each_block = pytest.mark.parametrize("name", BLOCKS)
TOKENS = np.random.default_rng(0).integers(0, V, (3, T))
LENGTHS = np.array([11, 7, 2])


class Model:
    """A GPT as jitted functions, random everywhere."""

    def __init__(self, block, **changes):
        made = GPTConfig(
            vocab_size=V, num_layers=3, max_length=T, block=block, **changes
        )
        self.rebuild, params = split(GPT(made, rngs=nnx.Rngs(0)))
        params = jax.tree.map(jnp.float32, random_like(params, 0))
        self.model = self.rebuild(params)
        self.call = jax.jit(lambda *x, **k: self.rebuild(params)(*x, **k))
        self.prefill = jax.jit(lambda *x: self.rebuild(params).prefill(*x))
        self.step = jax.jit(lambda *x: self.rebuild(params).step(*x))


@functools.cache
def model(name):
    return Model(BLOCKS[name])


close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)


BIASED = {
    "qkv bias": dataclasses.replace(ROTARY, qkv_bias=True),  # Qwen2
    "attention bias": dataclasses.replace(
        ROTARY, qkv_bias=True, attention_output_bias=True
    ),
    "mlp bias": dataclasses.replace(ROTARY, mlp_bias=True),
    "no output bias": dataclasses.replace(GPT2, attention_output_bias=False),
}
PAPERS = {
    **{name: BLOCKS[name] for name in ("gpt-2", "rope", "window")},
    **SCALED,
    "qkv bias": BIASED["qkv bias"],
}


@pytest.mark.parametrize("name", PAPERS)
def test_value_and_gradient_are_the_papers(name):
    made = GPTConfig(
        vocab_size=V,
        num_layers=2,
        max_length=T,
        block=PAPERS[name],
        dtype="float64",
    )
    tokens, labels = TOKENS[0, :-1], TOKENS[0, 1:]
    with jax.enable_x64(True):
        rebuild, params = split(GPT(made, rngs=nnx.Rngs(0)))
        params = random_like(params, 0)

        def loss(params):
            logits, _ = rebuild(params)(tokens[None])
            log_p = jax.nn.log_softmax(logits[0])
            return -log_p[jnp.arange(T - 1), labels].sum(), logits

        (got, logits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
            params
        )

    def paper(params):
        c = kinds(made.block)
        logits, _ = oracle_transformer.gpt(params, tokens, c, layers=2)
        return oracle_models.sentence_loss(logits, labels), logits

    want, paper_logits = paper(params)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    np.testing.assert_allclose(logits[0], paper_logits, rtol=1e-8, atol=1e-10)
    direction = random_like(params, 1)
    products = jax.tree.map(lambda g, d: (np.asarray(g) * d).sum(), gradient, direction)
    numerical = oracles.numerical_gradient(
        lambda step: paper(along(params, direction, step))[0], np.zeros(()), step=1e-6
    )
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), numerical, rtol=1e-6)


def test_the_smallest_gpt2_has_the_published_size():
    made = nnx.eval_shape(lambda: GPT(GPTConfig(), rngs=nnx.Rngs(0)))
    count = sum(x.size for x in jax.tree.leaves(nnx.state(made, nnx.Param)))
    assert count == 124_439_808


@each_block
def test_token_by_token_is_the_whole_text(name):
    m = model(name)
    want, _ = m.call(TOKENS)
    cache = m.model.start(3)
    for t in range(T):
        cache, logits, _ = m.step(cache, TOKENS[:, t])
        close(logits, want[:, t])


@each_block
@pytest.mark.parametrize("sizes", [(11,), (1, 3, 7)])
def test_any_pieces_are_the_whole_text(name, sizes):
    m = model(name)
    want, _ = m.call(TOKENS)
    cache, begun = m.model.start(3, capacity=T + 5), 0
    for size in sizes:
        piece = slice(begun, begun + size)
        cache, logits = m.prefill(cache, TOKENS[:, piece])
        close(logits, want[:, piece])
        begun += size
    assert (cache.lengths == T).all()


@each_block
def test_rows_of_many_lengths_are_the_rows_alone(name):
    """A ragged prompt, its padding poisoned, then each row goes on by itself."""
    m = model(name)
    mask = np.arange(T) < LENGTHS[:, None]
    poisoned = np.where(mask, TOKENS, V - 1)
    cache, logits = m.prefill(m.model.start(3, capacity=T + 5), poisoned, mask)
    np.testing.assert_array_equal(cache.lengths, LENGTHS)
    more = np.array([4, 5, 6])
    _, after, _ = m.step(cache, more)
    for b, length in enumerate(LENGTHS):
        row = TOKENS[b : b + 1, :length]
        alone, own = m.prefill(m.model.start(1, capacity=T + 5), row)
        close(logits[b, :length], own[0])
        if name == "gpt-2" and length == T:
            continue  # the row has filled the context: there is no next position
        _, next_logits, _ = m.step(alone, more[b : b + 1])
        close(after[b], next_logits[0])


@pytest.mark.parametrize("name", ["window", "relative"])
def test_a_window_needs_no_more_slots_than_its_size(name):
    """The cache is a ring; a text may be longer than it."""
    m = model(name)
    want, _ = m.call(TOKENS)
    before = BLOCKS[name].sliding_window
    cache = m.model.start(3, capacity=before + 1)
    for t in range(T):
        cache, logits, _ = m.step(cache, TOKENS[:, t])
        close(logits, want[:, t])
    cache, begun = m.model.start(3, capacity=before + 2), 0
    while begun < T:
        piece = slice(begun, begun + 2)
        cache, logits = m.prefill(cache, TOKENS[:, piece])
        close(logits, want[:, piece])
        begun += 2


def test_a_window_hides_what_is_before_it():
    """Three layers of a window of 3 before see 9 tokens back, and no further."""
    m = model("window")
    changed = TOKENS.copy()
    changed[:, 0] = (changed[:, 0] + 1) % V
    before, after = m.call(TOKENS)[0], m.call(changed)[0]
    np.testing.assert_array_equal(before[:, 10], after[:, 10])
    assert not np.allclose(before[:, 9], after[:, 9], 1e-6, 1e-6)


@pytest.mark.parametrize("name", ["rope", "alibi", "relative"])
def test_packed_texts_do_not_attend_to_each_other(name):
    m = model(name)
    parts = TOKENS[:1, :4], TOKENS[1:2, :7]
    packed = np.concatenate(parts, axis=1)
    segments = np.repeat([[0, 1]], [4, 7], axis=1)
    positions = np.concatenate([np.arange(4), np.arange(7)])[None]
    logits, _ = m.call(packed, positions=positions, segments=segments)
    close(logits[:, :4], m.call(parts[0])[0])
    close(logits[:, 4:], m.call(parts[1])[0])


def test_decoding_with_the_cache_is_decoding_without():
    m = model("rope")
    cache, logits = m.prefill(m.model.start(3, capacity=T), TOKENS[:, :4])
    del logits
    found = greedy(
        m.model.step, cache, batch_size=3, max_length=5, bos=2, eos=1, min_length=5
    )
    text = np.concatenate([TOKENS[:, :4], np.full((3, 1), 2)], axis=1)
    for t in range(4):
        logits = np.array(m.call(text)[0][:, -1])
        logits[:, [0, 1, 2]] = -np.inf
        best = logits.argmax(axis=1)
        np.testing.assert_array_equal(found.tokens[:, 0, t], best)
        text = np.concatenate([text, best[:, None]], axis=1)


def test_weights_are_zero_outside_the_window():
    _, weights = model("window").call(TOKENS)
    assert weights.shape == (3, T, T)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    q, k = np.indices((T, T))
    assert (np.asarray(weights)[:, (k > q) | (k < q - 3)] == 0).all()


def test_more_tokens_than_max_length_are_refused():
    m = model("gpt-2").model
    with pytest.raises(ValueError, match="tokens: expected at most 11, got 12"):
        m(np.zeros((1, 12), int))


def test_more_tokens_at_once_than_the_cache_holds_are_refused():
    m = model("window").model
    with pytest.raises(
        ValueError, match="at least 8 slots for 5 tokens at once and a window of 3"
    ):
        m.prefill(m.start(1, capacity=7), np.zeros((1, 5), int))


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"relu"}))
def test_an_activation_saves_only_its_input(name):
    x = jnp.linspace(-3, 3, 15).reshape(3, 5)
    _, pullback = jax.vjp(ACTIVATIONS[name], x)
    (kept,) = jax.tree.leaves(pullback)
    np.testing.assert_array_equal(kept, x)


@pytest.mark.parametrize("name", BIASED)
def test_biases_are_where_the_settings_say(name):
    block = BIASED[name]
    _, params = split(GPT(GPTConfig(num_layers=1, block=block), rngs=nnx.Rngs(0)))
    one = params["decoder"]["blocks"]
    attention, mlp = one["self_attention"], one["mlp"]
    has = {part: "b" in attention[part] for part in ("query", "keys", "values")}
    qkv = block.use_bias if block.qkv_bias is None else block.qkv_bias
    assert has == dict.fromkeys(has, qkv)
    assert ("b" in attention["output"]) == (
        block.use_bias
        if block.attention_output_bias is None
        else block.attention_output_bias
    )
    wanted = block.use_bias if block.mlp_bias is None else block.mlp_bias
    assert {part: "b" in mlp[part] for part in mlp} == dict.fromkeys(mlp, wanted)
