"""Seq2Seq against its paper, and as one of the sequence models."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import attnjax as aj
from attnjax.models.seq2seq import Seq2Seq, Seq2SeqConfig
from attnjax.models.state import split
from tests import oracle_models
from tests.models import laws, papers
from tests.models.laws import MASK, PAD, PREVIOUS, SOURCE, TARGET, B, D, M, S, V

pytestmark = pytest.mark.versions

CONFIG = Seq2SeqConfig(
    source_vocab_size=V, target_vocab_size=V, embed_dim=M, hidden_dim=D, num_layers=2,
    init="glorot",
)  # fmt: skip
FORWARD = dataclasses.replace(CONFIG, reverse_source=False)


def _paper(p, reverse):
    loss, results = 0.0, []
    for b in range(B):
        source, target = (x[b][x[b] != PAD] for x in (SOURCE, TARGET))
        previous = PREVIOUS[b, : len(target)]
        logits = oracle_models.seq2seq(p, source, previous, reverse)
        loss += oracle_models.sentence_loss(logits, target)
        results.append(logits)
    return loss, results


CASES = [("lstm", 2, True), ("lstm", 2, False), ("lstm", 3, True), ("gru", 1, True)]


@pytest.mark.parametrize(("cell", "num_layers", "reverse"), CASES)
def test_value_and_gradient_match_the_paper(cell, num_layers, reverse):
    """The batch's sentences differ in length; the oracle has one without padding."""
    config = dataclasses.replace(
        *(CONFIG,),
        cell=cell,
        num_layers=num_layers,
        reverse_source=reverse,
        dtype="float64",
    )
    p = papers.seq2seq_dict(cell, num_layers)
    with jax.enable_x64(True):
        rebuild, _ = split(Seq2Seq(config, rngs=nnx.Rngs(0)))

        def loss(p):
            params = papers.seq2seq(p, cell)
            logits, _ = rebuild(params)(SOURCE, MASK, PREVIOUS)
            nats = optax.softmax_cross_entropy_with_integer_labels(logits, TARGET)
            return jnp.where(TARGET != PAD, nats, 0).sum(), logits

        (got, logits), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(p)
        logits = np.asarray(logits)
    want, results = _paper(p, reverse)
    np.testing.assert_allclose(got, want, rtol=1e-11)
    for b, paper_logits in enumerate(results):
        np.testing.assert_allclose(
            logits[b, : len(paper_logits)], paper_logits, rtol=1e-10
        )
    laws.gradients_match_along_random_directions(
        gradients, lambda p: _paper(p, reverse)[0], p
    )


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law):
    law(laws.model(Seq2Seq, CONFIG))


def test_stepping_forwards_is_teacher_forcing():
    laws.stepping_is_teacher_forcing(laws.model(Seq2Seq, FORWARD))


def test_more_padding_keeps_loss_and_gradient():
    laws.more_padding_keeps_loss_and_gradient(laws.model(Seq2Seq, CONFIG))


def test_dropout_draws_by_its_key():
    laws.dropout_draws_by_its_key(
        laws.model(Seq2Seq, dataclasses.replace(CONFIG, dropout=0.3))
    )


@pytest.mark.parametrize("before", [0, 2, 3])
def test_a_reversed_source_is_the_source_turned_round_within_its_length(before):
    """With padding before it, after it, or both: the padding stays where it is."""
    reading, m = (laws.model(Seq2Seq, c) for c in (FORWARD, CONFIG))
    tokens = SOURCE[1, :2]
    mask = np.zeros((1, S), bool)
    mask[:, before : before + 2] = True
    source = np.full((1, S), 7, np.int32)  # padding that would be seen
    source[mask] = tokens
    got = m.encode(m.params, source, mask)
    alone = reading.encode(m.params, tokens[None, ::-1], np.ones((1, 2), bool))
    for one, other in zip(
        jax.tree.leaves(got.layers), jax.tree.leaves(alone.layers), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    other = reading.encode(m.params, source, mask)
    assert not np.allclose(got.vector, other.vector, 1e-3)


def test_the_decoder_begins_with_all_of_the_encoders_state():
    m = laws.model(Seq2Seq, CONFIG)
    memory = m.encode(m.params, SOURCE, MASK)
    assert memory.vector.shape == (B, 2 * 2 * D)
    carry = m.start(m.params, memory)
    leaves = zip(jax.tree.leaves(carry), jax.tree.leaves(memory.layers), strict=True)
    for one, other in leaves:
        np.testing.assert_array_equal(one, other)
    assert all(layer.cell.any() and layer.hidden.any() for layer in carry)


def test_its_weights_are_zero():
    m = laws.model(Seq2Seq, CONFIG)
    _, weights = m.call(m.params, SOURCE, MASK, PREVIOUS)
    assert not weights.any()


def test_the_papers_size_is_384_million_parameters():
    """160M and 80M of embeddings, 64M recurrent, 80M of the softmax; biases beside."""
    _, params = aj.split_abstract(lambda: Seq2Seq(Seq2SeqConfig(), rngs=nnx.Rngs(0)))

    def count(tree):
        return sum(x.size for x in jax.tree.leaves(tree))

    biases = 80_000 + 2 * 4 * 4_000
    assert count(params) == 384_000_000 + biases
    assert count((params["encoder"], params["decoder"])) == 64_000_000 + 2 * 4 * 4_000


def test_every_initial_parameter_is_uniform_as_published():
    config = dataclasses.replace(CONFIG, init="uniform", hidden_dim=23)
    _, params = split(Seq2Seq(config, rngs=nnx.Rngs(0)))
    for x in jax.tree.leaves(params):
        assert x.min() < -0.03  # biases too
        assert x.max() > 0.03
        assert np.abs(x).max() <= 0.08
    everything = np.concatenate([x.ravel() for x in jax.tree.leaves(params)])
    np.testing.assert_allclose(everything.std(), 0.16 / 12**0.5, rtol=0.05)
    assert len(np.unique(everything)) > 0.99 * len(everything)  # none drawn twice


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, r"^num_layers: expected at least 1, got 0 \("),
        ({"hidden_dim": 0}, r"^hidden_dim: expected at least 1, got 0"),
        ({"target_vocab_size": 0}, r"^target_vocab_size: expected at least 1, got 0"),
        (
            {"cell": "rnn"},
            r"^cell: expected one of gru, lstm, peephole_lstm, got 'rnn'",
        ),
        ({"tie_output": True}, r"^hidden_dim: expected 5, got 3 \(with tie_output"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Seq2Seq(dataclasses.replace(CONFIG, **changes), rngs=nnx.Rngs(0))
