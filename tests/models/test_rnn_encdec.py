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


def test_value_and_gradient_are_the_papers():
    config = dataclasses.replace(CONFIG, dtype="float64")
    with jax.enable_x64(True):
        rebuild, _ = split(RNNEncoderDecoder(config, rngs=nnx.Rngs(0)))

        def loss(p):
            params = papers.rnn_encoder_decoder(p)
            logits, _ = rebuild(params)(SOURCE, MASK, PREVIOUS)
            nats = optax.softmax_cross_entropy_with_integer_labels(logits, TARGET)
            return jnp.where(TARGET != PAD, nats, 0).sum(), logits

        (got, logits), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(
            papers.FIXED
        )
        logits = np.asarray(logits)
    want, results = _paper(papers.FIXED)
    np.testing.assert_allclose(got, want, rtol=1e-11)
    for b, paper_logits in enumerate(results):
        np.testing.assert_allclose(
            logits[b, : len(paper_logits)], paper_logits, rtol=1e-10
        )
    want = oracles.numerical_gradients(lambda p: _paper(p)[0], papers.FIXED)
    for name, slope in want.items():
        np.testing.assert_allclose(
            slopes[name], slope, rtol=1e-6, atol=1e-8, err_msg=name
        )


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law):
    law(laws.model(RNNEncoderDecoder, CONFIG))


def test_more_padding_keeps_loss_and_gradient():
    laws.more_padding_keeps_loss_and_gradient(laws.model(RNNEncoderDecoder, CONFIG))


def test_dropout_draws_by_its_key():
    config = dataclasses.replace(CONFIG, dropout=0.3)
    laws.dropout_draws_by_its_key(laws.model(RNNEncoderDecoder, config))


def test_it_looks_nowhere():
    m = laws.model(RNNEncoderDecoder, CONFIG)
    _, weights = m.call(m.params, SOURCE, MASK, PREVIOUS)
    assert not weights.any()


def test_a_tied_output_has_the_width_of_an_embedding():
    config = dataclasses.replace(CONFIG, tie_output=True)
    with pytest.raises(
        ValueError, match=r"^readout_dim: expected 5, got 2 \(with tie_ou"
    ):
        RNNEncoderDecoder(config, rngs=nnx.Rngs(0))
