"""The Transformer against loops of its paper, and as one of the sequence models."""

import dataclasses
import math
from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax.models._block_config import BlockConfig
from attnjax.models.state import split
from attnjax.models.transformer import Transformer, TransformerConfig
from attnjax.transformer.head_scores import HEAD_SCORES
from tests import oracle_models, oracle_positions, oracle_transformer, oracles
from tests.models import laws
from tests.models.laws import MASK, PAD, PREVIOUS, SOURCE, TARGET, B, V

pytestmark = pytest.mark.versions

PAPER = BlockConfig(d_model=18, num_heads=3, d_ff=7)
MODERN = BlockConfig(
    d_model=18,
    num_heads=3,
    num_kv_heads=1,
    d_ff=7,
    activation="swiglu",
    norm="rms",
    pre_norm=True,
    use_bias=False,
    position_embedding="rope",
    head_dim=10,
)
LEARNED = dataclasses.replace(
    PAPER,
    position_embedding="learned",
    activation="gelu",
    pre_norm=True,
    logit_softcap=2.0,
)
BLOCKS = {"paper": PAPER, "modern": MODERN, "learned": LEARNED}
each_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)


def config(block=PAPER, **changes):
    return TransformerConfig(
        source_vocab_size=V,
        target_vocab_size=V,
        encoder_layers=2,
        decoder_layers=3,
        block=block,
        max_length=9,
        **changes,
    )


def rope_frequencies(block, width):
    """The oracle's RoPE frequencies of a head."""
    plain = oracle_positions.frequencies(width, block.rope_theta)
    factor, context = block.rope_scaling_factor, block.rope_original_max_length
    return {
        "none": plain,
        "linear": [theta / factor for theta in plain],
        "ntk": oracle_positions.ntk_frequencies(width, factor, block.rope_theta),
        "llama3": oracle_positions.banded_frequencies(
            plain,
            factor,
            context,
            block.rope_low_freq_factor,
            block.rope_high_freq_factor,
        ),
        "yarn": oracle_positions.yarn_frequencies(
            width,
            block.rope_theta,
            factor,
            context,
            block.rope_beta_fast,
            block.rope_beta_slow,
            block.rope_truncate,
        ),
    }[block.rope_scaling]


def attention_factor(block):
    """Peng 2023, eq. 22."""
    if block.rope_scaling != "yarn":
        return 1.0
    return block.rope_attention_factor or 0.1 * math.log(block.rope_scaling_factor) + 1


def kinds(block):
    """A block's settings as the oracle's dict."""
    return {
        "num_heads": block.num_heads,
        "num_kv_heads": block.num_kv_heads or block.num_heads,
        "norm": block.norm,
        "pre_norm": block.pre_norm,
        "epsilon": block.norm_epsilon,
        "activation": block.activation,
        "positions": block.position_embedding,
        "frequencies": partial(rope_frequencies, block),
        "attention_factor": attention_factor(block),
        "logit_softcap": block.logit_softcap,
        "sliding_window": block.sliding_window,
    }


def random_like(params, seed):
    """Random parameters: a bias of 0 or a scale of 1 could hide a mistake."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape), params)


def along(params, direction, step):
    return jax.tree.map(lambda x, d: x + step * d, params, direction)


# Each block and each score of cross-attention once.
CASES = {
    "paper": config(),
    "modern, additive": config(MODERN, cross_attention_score="additive"),
    "learned, bilinear": config(LEARNED, cross_attention_score="bilinear"),
    "cosine": config(cross_attention_score="cosine"),
    "dot, apart": config(cross_attention_score="dot", share_embeddings=False),
}


def test_every_score_of_heads_is_in_a_case():
    tried = {case.cross_attention_score for case in CASES.values()}
    assert tried == HEAD_SCORES.keys()


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_the_papers(name):
    made = dataclasses.replace(CASES[name], dtype="float64")
    c, score = kinds(made.block), made.cross_attention_score
    with jax.enable_x64(True):
        rebuild, params = split(Transformer(made, rngs=nnx.Rngs(0)))
        params = random_like(params, 0)

        def loss(params):
            logits, weights = rebuild(params)(SOURCE, MASK, PREVIOUS)
            nats = optax.softmax_cross_entropy_with_integer_labels(logits, TARGET)
            return jnp.where(TARGET != PAD, nats, 0).sum(), (logits, weights)

        value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (got, (logits, weights)), gradient = value_and_grad(params)

    def paper(params):
        total, results = 0.0, []
        for b in range(B):
            source, target = (x[b][x[b] != PAD] for x in (SOURCE, TARGET))
            result = oracle_transformer.transformer(
                params,
                source,
                PREVIOUS[b, : len(target)],
                c,
                layers=(2, 3),
                score=score,
            )
            total += oracle_models.sentence_loss(result[0], target)
            results.append(result)
        return total, results

    want, results = paper(params)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    for b, (paper_logits, paper_weights) in enumerate(results):
        t, s = paper_weights.shape
        np.testing.assert_allclose(logits[b, :t], paper_logits, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(weights[b, :t, :s], paper_weights, 1e-8, 1e-12)
    direction = random_like(params, 1)
    products = jax.tree.map(lambda g, d: (np.asarray(g) * d).sum(), gradient, direction)
    numerical = oracles.numerical_gradient(
        lambda step: paper(along(params, direction, step))[0], np.zeros(()), step=1e-6
    )
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), numerical, rtol=1e-6)


@each_block
@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_obeys_the_laws_of_sequence_models(law, block):
    law(laws.model(Transformer, config(block)))


def test_more_padding_keeps_loss_and_gradient():
    laws.more_padding_keeps_loss_and_gradient(laws.model(Transformer, config(MODERN)))


def test_dropout_draws_by_its_key():
    block = dataclasses.replace(PAPER, dropout=0.5)
    laws.dropout_draws_by_its_key(laws.model(Transformer, config(block)))


def test_the_base_model_has_the_papers_size():
    """65 million parameters (table 3), with the 37,000 pieces of section 5.1."""
    model = nnx.eval_shape(lambda: Transformer(TransformerConfig(), rngs=nnx.Rngs(0)))
    count = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    M, F, V = 512, 2048, 37_000
    attention, feed, norm = 4 * (M * M + M), 2 * M * F + F + M, 2 * M
    encoder, decoder = attention + feed + 2 * norm, 2 * attention + feed + 3 * norm
    assert count == V * M + 6 * (encoder + decoder) == 63_082_496


@pytest.mark.parametrize("remat", ["dots", "all"])
def test_remat_keeps_gradients(remat):
    plain = laws.model(Transformer, config())
    block = dataclasses.replace(PAPER, remat=remat)
    recomputed = laws.model(Transformer, config(block))
    arguments = SOURCE, MASK, PREVIOUS, TARGET
    want, got = (
        m.value_and_grad(plain.params, *arguments) for m in (plain, recomputed)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), got, want)


def test_a_bfloat16_model_computes_in_bfloat16():
    m = laws.model(Transformer, dataclasses.replace(config(), dtype="bfloat16"))
    logits, weights = m.call(m.params, SOURCE, MASK, PREVIOUS)
    # Logits keep the bits of their sums, for a softmax.
    assert (logits.dtype, weights.dtype) == (jnp.float32, jnp.bfloat16)
    full = laws.model(Transformer, config())
    want, _ = full.call(full.params, SOURCE, MASK, PREVIOUS)
    np.testing.assert_allclose(logits, want, atol=0.1)
    arguments = SOURCE, MASK, PREVIOUS, TARGET
    (_, got), (_, want) = (x.value_and_grad(x.params, *arguments) for x in (m, full))
    got, want = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (got, want))
    assert jnp.linalg.norm(got - want) < 0.05 * jnp.linalg.norm(want)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 4}, "num_heads: expected a divisor of d_model = 18, got 4"),
        (
            {"num_kv_heads": 2},
            "num_kv_heads: expected a divisor of num_heads = 3, got 2",
        ),
        ({"head_dim": 0}, "head_dim: expected at least 1, got 0"),
        (
            {"num_heads": 2, "position_embedding": "rope"},
            r"head_dim: expected an even number \(RoPE .*, got 9",
        ),
        (
            {"d_model": 15},
            r"d_model: expected an even number \(sinusoidal .*, got 15",
        ),
        ({"sliding_window": -1}, "sliding_window: expected at least 0 tokens, got -1"),
        (
            {"rope_scaling_factor": 0.0},
            "rope_scaling_factor: expected a number > 0, got 0.0",
        ),
        (
            {"rope_scaling": "ntk"},
            "rope_scaling: expected none with sinusoidal positions, got ntk",
        ),
        (
            {
                "position_embedding": "rope",
                "rope_scaling": "llama3",
                "rope_original_max_length": 0,
            },
            "original_max_length: expected a number of positions >= 1, got 0",
        ),
        (
            {"rope_attention_factor": 1.1},
            "rope_attention_factor: expected a number > 0 with yarn scaling, else None",
        ),
        (
            {
                "position_embedding": "rope",
                "head_dim": 4,
                "rope_scaling": "yarn",
                "rope_beta_fast": 1.0,
            },
            "beta_fast: expected more than beta_slow = 1.0, and both above 0, got 1.0",
        ),
    ],
)
def test_invalid_settings_are_named(changes, message):
    block = dataclasses.replace(PAPER, **changes)
    with pytest.raises(ValueError, match=message):
        Transformer(config(block), rngs=nnx.Rngs(0))


def test_two_vocabularies_cannot_share_a_table():
    made = dataclasses.replace(config(), target_vocab_size=V + 2)
    with pytest.raises(
        ValueError, match=r"target_vocab_size: expected 11, got 13 \(share"
    ):
        Transformer(made, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_sentence_longer_than_learned_positions_is_refused(side):
    made = Transformer(config(LEARNED), rngs=nnx.Rngs(0))
    ids = {"source": np.ones((1, 3), int), "target": np.ones((1, 3), int)}
    ids[side] = np.ones((1, 10), int)
    with pytest.raises(ValueError, match=rf"{side}: expected at most 9 tokens, got 10"):
        made(ids["source"], ids["source"] > 0, ids["target"])
