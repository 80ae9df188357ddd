"""The fixed-vector model against its paper, and as one of the sequence models."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax.models.rnn_encdec import RNNEncoderDecoder, RNNEncoderDecoderConfig
from attnjax.models.state import split
from tests import oracle_models, oracles
from tests.models import laws, papers
from tests.models.laws import MASK, PAD, PREVIOUS, SOURCE, TARGET, B, D, L, M, V

pytestmark = pytest.mark.versions

CONFIG = RNNEncoderDecoderConfig(
    source_vocab_size=V, target_vocab_size=V, embed_dim=M, hidden_dim=D, readout_dim=L,
    init="glorot",
)  # fmt: skip


def _paper(p):
    loss, results = 0.0, []
    for b in range(B):
        source, target = (x[b][x[b] != PAD] for x in (SOURCE, TARGET))
        logits = oracle_models.rnn_encoder_decoder(
            p, source, PREVIOUS[b, : len(target)]
        )
        loss += oracle_models.sentence_loss(logits, target)
        results.append(logits)
    return loss, results


STACKS = [("gru", 1), ("gru", 2), ("lstm", 1), ("lstm", 2), ("peephole_lstm", 1)]


@pytest.mark.parametrize(("cell", "num_layers"), STACKS)
def test_value_and_gradient_match_the_paper(cell, num_layers):
    config = dataclasses.replace(
        CONFIG, cell=cell, num_layers=num_layers, dtype="float64"
    )
    p = papers.fixed_dict(cell, num_layers)
    with jax.enable_x64(True):
        rebuild, _ = split(RNNEncoderDecoder(config, rngs=nnx.Rngs(0)))

        def loss(p):
            params = papers.rnn_encoder_decoder(p, cell)
            logits, _ = rebuild(params)(SOURCE, MASK, PREVIOUS)
            nats = optax.softmax_cross_entropy_with_integer_labels(logits, TARGET)
            return jnp.where(TARGET != PAD, nats, 0).sum(), logits

        (got, logits), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(p)
        logits = np.asarray(logits)
    want, results = _paper(p)
    np.testing.assert_allclose(got, want, rtol=1e-11)
    for b, paper_logits in enumerate(results):
        np.testing.assert_allclose(
            logits[b, : len(paper_logits)], paper_logits, rtol=1e-10
        )
    if (cell, num_layers) != ("gru", 1):
        laws.gradients_match_along_random_directions(
            gradients, lambda p: _paper(p)[0], p
        )
        return
    want = oracles.numerical_gradients(lambda p: _paper(p)[0], p)
    for name, gradient in want.items():
        np.testing.assert_allclose(
            gradients[name], gradient, rtol=1e-6, atol=1e-8, err_msg=name
        )


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law):
    law(laws.model(RNNEncoderDecoder, CONFIG))


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law_of_a_deep_lstm(law):
    config = dataclasses.replace(CONFIG, cell="lstm", num_layers=2)
    law(laws.model(RNNEncoderDecoder, config))


def test_more_padding_keeps_loss_and_gradient():
    laws.more_padding_keeps_loss_and_gradient(laws.model(RNNEncoderDecoder, CONFIG))


def test_dropout_draws_by_its_key():
    config = dataclasses.replace(CONFIG, num_layers=2, dropout=0.3)
    laws.dropout_draws_by_its_key(laws.model(RNNEncoderDecoder, config))


def test_its_weights_are_zero():
    m = laws.model(RNNEncoderDecoder, CONFIG)
    _, weights = m.call(m.params, SOURCE, MASK, PREVIOUS)
    assert not weights.any()


def test_a_tied_output_has_the_width_of_an_embedding():
    config = dataclasses.replace(CONFIG, tie_output=True)
    with pytest.raises(
        ValueError, match=r"^readout_dim: expected 5, got 2 \(with tie_ou"
    ):
        RNNEncoderDecoder(config, rngs=nnx.Rngs(0))
