"""The weights that an alignment is read from: of which layer and heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.core.guidance import alignment_cross_entropy
from attnjax.models._block_config import BlockConfig
from attnjax.models.rnnsearch import RNNSearch, RNNSearchConfig
from attnjax.models.state import split
from attnjax.models.transformer import Transformer, TransformerConfig
from tests import oracle_transformer
from tests.models.laws import MASK, PAD, PREVIOUS, SOURCE, TARGET, B, V

BLOCK = BlockConfig(d_model=18, num_heads=3, d_ff=7)
CHOICES = [(None, ()), (0, ()), (2, (1,)), (1, (0, 2))]


def transformer(dtype="float32"):
    config = TransformerConfig(
        source_vocab_size=V,
        target_vocab_size=V,
        encoder_layers=1,
        decoder_layers=3,
        block=BLOCK,
        dtype=dtype,
    )
    rebuild, params = split(Transformer(config, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    return rebuild, jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape), params)


def paper(params, layer, heads):
    """The oracle's weights of each row, [T, S]."""
    c = {
        **{"num_heads": 3, "num_kv_heads": 3, "norm": "layer", "pre_norm": False},
        **{"epsilon": BLOCK.norm_epsilon, "activation": "relu"},
        **{"positions": "sinusoidal"},
        **({"heads_of_weights": heads} if heads else {}),
    }
    for b in range(B):
        source, target = (x[b][x[b] != PAD] for x in (SOURCE, TARGET))
        previous = PREVIOUS[b, : len(target)]
        yield oracle_transformer.transformer(
            params, source, previous, c, layers=(1, 3), of=layer
        )[1]


@pytest.mark.parametrize(("layer", "heads"), CHOICES)
def test_a_transformers_weights_are_those_of_the_layer_and_heads(layer, heads):
    with jax.enable_x64(True):
        rebuild, params = transformer("float64")
        _, weights = rebuild(params).features_and_weights(
            SOURCE, MASK, PREVIOUS, layer=layer, heads=heads
        )
    for got, want in zip(weights, paper(params, layer, heads), strict=True):
        T, S = want.shape
        np.testing.assert_allclose(got[:T, :S], want, rtol=1e-8, atol=1e-12)


def test_asking_for_weights_keeps_the_features():
    rebuild, params = transformer()
    params = jax.tree.map(jnp.float32, params)
    plain, _ = rebuild(params).features(SOURCE, MASK, PREVIOUS)
    asked, _ = rebuild(params).features_and_weights(
        SOURCE, MASK, PREVIOUS, layer=1, heads=(2,)
    )
    np.testing.assert_array_equal(asked, plain)


def test_a_loss_on_one_head_leaves_the_queries_of_the_others_alone():
    rebuild, params = transformer()
    params = jax.tree.map(jnp.float32, params)
    links = jnp.zeros((*TARGET.shape, SOURCE.shape[1]), bool).at[:, 0, 0].set(True)

    def loss(params):
        _, weights = rebuild(params).features_and_weights(
            SOURCE, MASK, PREVIOUS, layer=2, heads=(1,)
        )
        return alignment_cross_entropy(weights, links).sum()

    blocks = jax.grad(loss)(params)["decoder"]["blocks"]
    w = blocks["cross_attention"]["query"]["w"][2]  # [M, H*D], last layer
    moved = np.abs(w).reshape(18, 3, 6).sum((0, 2)) > 0  # [M, H*D] -> [M, H, D]
    assert moved.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"layer": 3}, "weights_of: expected layers from 0 to 2, got 3"),
        ({"heads": (0, 3)}, "heads: expected heads from 0 to 2, got 3"),
    ],
)
def test_layers_and_heads_that_do_not_exist_are_named(choice, message):
    rebuild, params = transformer()
    with pytest.raises(ValueError, match=message):
        rebuild(params).features_and_weights(SOURCE, MASK, PREVIOUS, **choice)


def test_rnnsearch_has_one_alignment_and_says_so():
    sizes = {"embed_dim": 3, "hidden_dim": 5, "align_dim": 7, "readout_dim": 2}
    config = RNNSearchConfig(source_vocab_size=V, target_vocab_size=V, **sizes)
    model = RNNSearch(config, rngs=nnx.Rngs(0))
    got = model.features_and_weights(SOURCE, MASK, PREVIOUS)
    want = model.features(SOURCE, MASK, PREVIOUS)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)
    for name, value in (("layer", 0), ("heads", (0,))):
        with pytest.raises(ValueError, match=f"{name}: expected none, got"):
            model.features_and_weights(SOURCE, MASK, PREVIOUS, **{name: value})
