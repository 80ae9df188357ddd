"""RNNSearch against the appendix, and as one of the sequence models."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax.cells.aligners import ALIGNERS
from attnjax.models.rnnsearch import RNNSearch, RNNSearchConfig
from attnjax.models.state import split
from attnjax.train import Loss, init_state, make_train_step
from tests import oracle_models, oracles
from tests.cells.weighing import WEIGH
from tests.models import laws, papers
from tests.models.laws import (
    MASK,
    PAD,
    PREVIOUS,
    SOURCE,
    TARGET,
    A,
    B,
    D,
    L,
    M,
    S,
    T,
    V,
)

pytestmark = pytest.mark.versions

CONFIG = RNNSearchConfig(
    source_vocab_size=V,
    target_vocab_size=V,
    embed_dim=M,
    hidden_dim=D,
    align_dim=A,
    readout_dim=L,
    init="glorot",
)
each_aligner = pytest.mark.parametrize("aligner", ALIGNERS)


# Parameters of other aligners than the additive one.
UNUSED = (
    *("W_b", "W_p", "v_p", "F", "U_l", "b_l"),
    *("W_c", "b_c", "W_n", "b_n", "W_g", "b_g"),
)


def _paper(p, weigh):
    """The oracle on every sentence, cut to its length: loss, logits, alignments."""
    loss, results = 0.0, []
    for b in range(B):
        source, target = (x[b][x[b] != PAD] for x in (SOURCE, TARGET))
        result = oracle_models.rnnsearch(p, source, PREVIOUS[b, : len(target)], weigh)
        loss += oracle_models.sentence_loss(result[0], target)
        results.append(result)
    return loss, results


def _run(config, p):
    """Our loss, (logits, weights) and gradients for the paper's parameters."""
    with jax.enable_x64(True):
        rebuild, _ = split(RNNSearch(config, rngs=nnx.Rngs(0)))

        def loss(p):
            params = papers.rnnsearch(p, config.aligner, config.cell)
            logits, weights = rebuild(params)(SOURCE, MASK, PREVIOUS)
            nats = optax.softmax_cross_entropy_with_integer_labels(logits, TARGET)
            return jnp.where(TARGET != PAD, nats, 0).sum(), (logits, weights)

        (value, outputs), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(p)
        return value, jax.tree.map(np.asarray, outputs), gradients


@each_aligner
def test_value_and_gradient_match_the_appendix(aligner):
    config = dataclasses.replace(CONFIG, aligner=aligner, dtype="float64")
    p = papers.RNNSEARCH
    got, (logits, weights), gradients = _run(config, p)
    want, results = _paper(p, WEIGH[aligner])
    np.testing.assert_allclose(got, want, rtol=1e-11)
    for b, (paper_logits, paper_weights) in enumerate(results):
        t, s = paper_weights.shape
        np.testing.assert_allclose(logits[b, :t], paper_logits, rtol=1e-10)
        np.testing.assert_allclose(weights[b, :t, :s], paper_weights, 1e-10, 1e-14)
    laws.gradients_match_along_random_directions(
        gradients, lambda p: _paper(p, WEIGH[aligner])[0], p
    )


STACKS = [("gru", 2), ("lstm", 1), ("lstm", 2)]


@pytest.mark.parametrize(("cell", "num_layers"), STACKS)
def test_stacks_match_the_loop_in_value_and_gradient(cell, num_layers):
    config = dataclasses.replace(
        CONFIG, cell=cell, num_layers=num_layers, dtype="float64"
    )
    p = papers.rnnsearch_dict(cell, num_layers)
    got, (logits, weights), gradients = _run(config, p)
    want, results = _paper(p, WEIGH["additive"])
    np.testing.assert_allclose(got, want, rtol=1e-11)
    for b, (paper_logits, paper_weights) in enumerate(results):
        t, s = paper_weights.shape
        np.testing.assert_allclose(logits[b, :t], paper_logits, rtol=1e-10)
        np.testing.assert_allclose(weights[b, :t, :s], paper_weights, 1e-10, 1e-14)
    laws.gradients_match_along_random_directions(
        gradients, lambda p: _paper(p, WEIGH["additive"])[0], p
    )


def test_every_entry_of_the_gradient_matches_the_appendix():
    """One sentence, additive: parameter by parameter, so that an error has a name."""
    config = dataclasses.replace(CONFIG, dtype="float64")
    p = papers.RNNSEARCH
    source, previous, target = [5, 9, 2], [1, 8], [8, 2]
    with jax.enable_x64(True):
        rebuild, _ = split(RNNSearch(config, rngs=nnx.Rngs(0)))

        def loss(p):
            ids = (jnp.array([x]) for x in (source, [True] * 3, previous))
            logits, _ = rebuild(papers.rnnsearch(p))(*ids)
            return optax.softmax_cross_entropy_with_integer_labels(
                logits[0], jnp.array(target)
            ).sum()

        gradients = jax.jit(jax.grad(loss))(p)

    def paper(p):
        logits, _ = oracle_models.rnnsearch(p, source, previous)
        return oracle_models.sentence_loss(logits, target)

    used = {k: x for k, x in p.items() if k not in UNUSED}
    want = oracles.numerical_gradients(paper, used)
    for name, gradient in want.items():
        np.testing.assert_allclose(
            gradients[name], gradient, rtol=1e-6, atol=1e-8, err_msg=name
        )


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
@each_aligner
def test_law(law, aligner):
    config = dataclasses.replace(CONFIG, aligner=aligner)
    law(laws.model(RNNSearch, config))


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law_of_a_deep_lstm(law):
    config = dataclasses.replace(CONFIG, cell="lstm", num_layers=2, aligner="location")
    law(laws.model(RNNSearch, config))


def test_more_padding_keeps_loss_and_gradient():
    laws.more_padding_keeps_loss_and_gradient(laws.model(RNNSearch, CONFIG))


@pytest.mark.parametrize("options", [{"maxout": False}, {"tie_output": True}])
def test_smaller_outputs_step_as_they_train(options):
    config = dataclasses.replace(CONFIG, readout_dim=M, **options)
    laws.stepping_is_teacher_forcing(laws.model(RNNSearch, config))


def test_dropout_draws_by_its_key():
    config = dataclasses.replace(CONFIG, num_layers=2, dropout=0.3)
    laws.dropout_draws_by_its_key(laws.model(RNNSearch, config))


def test_bfloat16_computes_in_low_precision_with_float32_gradients():
    full = laws.model(RNNSearch, CONFIG)
    low = laws.model(RNNSearch, dataclasses.replace(CONFIG, dtype="bfloat16"))
    logits, weights = low.call(full.params, SOURCE, MASK, PREVIOUS)
    # Logits keep the bits of their sums, for a softmax.
    assert (logits.dtype, weights.dtype) == (jnp.float32, jnp.bfloat16)
    want, _ = full.call(full.params, SOURCE, MASK, PREVIOUS)
    # Some ten roundings of 2^-9 between a token and its logit.
    np.testing.assert_allclose(logits, want, rtol=0.05, atol=0.05)
    _, gradients = low.value_and_grad(full.params, SOURCE, MASK, PREVIOUS, TARGET)
    chex.assert_trees_all_equal_dtypes(gradients, full.params)


def test_weights_sum_to_one_over_the_source():
    m = laws.model(RNNSearch, CONFIG)
    _, weights = m.call(m.params, SOURCE, MASK, PREVIOUS)
    np.testing.assert_allclose(weights.sum(-1), np.ones((B, T)), rtol=1e-5)
    padded = ~np.broadcast_to(MASK[:, None], (B, T, S))
    assert (np.asarray(weights)[padded] == 0).all()


# --- the paper's sizes --------------------------------------------------------


def test_the_papers_sizes_have_the_papers_number_of_parameters():
    """Bahdanau 2015, A.2.3: n 1000, m 620, l 500, n' 1000, K_x = K_y = 30,000."""
    n, m, half, n_, K = 1000, 620, 500, 1000, 30_000  # half: l, after maxout
    embeddings = 2 * K * m
    encoder = 2 * (3 * n * m + 3 * n * n)
    decoder = 3 * n * m + 3 * n * n + 3 * n * 2 * n + n * n  # W, U, C and W_s
    aligner = n_ * n + n_ * 2 * n + n_
    output = 2 * half * (n + m + 2 * n) + K * half
    matrices = embeddings + encoder + decoder + aligner + output
    assert matrices == 80_401_000
    biases = 3 * 3 * n + 2 * half + K
    shapes = nnx.eval_shape(lambda: RNNSearch(RNNSearchConfig(), rngs=nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.state(shapes))
    assert sum(x.size for x in leaves) == matrices + biases
    assert sum(x.size for x in leaves if x.ndim == 1) == biases + n_


@pytest.mark.slow
def test_a_training_step_at_the_papers_sizes():
    rebuild, params = split(RNNSearch(RNNSearchConfig(), rngs=nnx.Rngs(0)))

    def loss(params, batch, rng):
        source, target = batch
        previous = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=1)
        logits, _ = rebuild(params)(source, source != PAD, previous)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, target)
        return Loss(nats.sum(), jnp.float32(target.size))

    tx = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adadelta(1.0, rho=0.95, eps=1e-6)
    )
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        state = init_state(params, tx)
        step = make_train_step(loss, tx)
        ids = jax.random.randint(jax.random.key(0), (2, 2, 7), 3, 30_000)
        state, metrics = step(state, (ids[0], ids[1]), jax.random.key(1))
    # Small parameters: the first prediction is uniform over the vocabulary.
    np.testing.assert_allclose(metrics["loss"], np.log(30_000), rtol=1e-2)
    assert np.isfinite(metrics["grad_norm"])
    assert metrics["grad_norm"] > 0
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, params)
    # v_a = 0 at first, and so is the gradient of what it multiplies.
    still = {"w_query", "w_keys"}
    for path, has_moved in jax.tree.leaves_with_path(moved):
        assert has_moved != (path[-1].key in still), path


# --- error text ---------------------------------------------------------------


def test_a_tied_output_has_the_width_of_an_embedding():
    config = dataclasses.replace(CONFIG, tie_output=True)
    with pytest.raises(
        ValueError, match=r"^readout_dim: expected 5, got 2 \(with tie_ou"
    ):
        RNNSearch(config, rngs=nnx.Rngs(0))
