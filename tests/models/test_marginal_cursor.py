"""The marginalised cursor against all its paths, and as one of the sequence models."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.decode import beam_search, greedy
from attnjax.models.marginal_cursor import MarginalCursor, MarginalCursorConfig
from attnjax.models.state import split
from tests import oracle_cursors
from tests.cells.papers import cell_shapes, draw_dict, layer_params
from tests.models import laws
from tests.models.laws import MASK, PAD, PREVIOUS, SOURCE, TARGET, B, D, L, M, T, V
from tests.models.papers import nested

pytestmark = pytest.mark.versions

A, JUMP = 5, 2
CONFIG = MarginalCursorConfig(
    source_vocab_size=V, target_vocab_size=V, embed_dim=M, hidden_dim=D, align_dim=A,
    readout_dim=L, max_jump=JUMP,
)  # fmt: skip
MOVES = {"first-order": (-JUMP, True), "monotone": (0, False)}
each_move = pytest.mark.parametrize("moves", MOVES)
REAL = TARGET != PAD


def drawn(moves):
    """The oracle's parameters, one flat dict."""
    gates = ("_z", "_r", "")
    shapes = {"E_x": (V, M), "E_y": (V, M), "W_s": (D, D), "K": (A, 2 * D), "Q": (A, D)}
    for name in ("forward", "backward", "decoder"):
        shapes |= cell_shapes(gates, M, D, prefix=f"{name}.")
    for side, width in (("source", 2 * D + M), ("target", D + M)):
        shapes |= {f"{side}.U": (L, width), f"{side}.b_t": (L,)}
        shapes |= {f"{side}.W_o": (V, L), f"{side}.b_o": (V,)}
    shapes["jumps"] = (JUMP + 1 - MOVES[moves][0],)
    return draw_dict(500, shapes)


def params(p):
    """The model's parameters, differentiable in the oracle's."""

    def output(side):
        return {
            "w_readout": jnp.asarray(p[f"{side}.U"]).T,
            "b_readout": jnp.asarray(p[f"{side}.b_t"]),
            "w_output": jnp.asarray(p[f"{side}.W_o"]),
            "b_output": jnp.asarray(p[f"{side}.b_o"]),
        }

    forward, backward, decoder = (
        nested(layer_params(p, name, "gru"))
        for name in ("forward", "backward", "decoder")
    )
    return {
        "source_embedding": jnp.asarray(p["E_x"]),
        "target_embedding": jnp.asarray(p["E_y"]),
        "encoder": {"0": {"forward": forward["0"], "backward": backward["0"]}},
        "w_start": jnp.asarray(p["W_s"]).T,
        "decoder": decoder,
        "w_keys": jnp.asarray(p["K"]).T,
        "cursor": {
            "w_query": jnp.asarray(p["Q"]).T,
            "jumps": jnp.asarray(p["jumps"]),
        },
        "source_output": output("source"),
        "target_output": output("target"),
    }


def rows():
    """Source, previous and target of each row without padding."""
    for b in range(B):
        source, target = (x[b][x[b] != PAD] for x in (SOURCE, TARGET))
        yield source, PREVIOUS[b, : len(target)], target


@each_move
def test_likelihood_posterior_and_gradient_are_sums_over_paths(moves):
    p, how = drawn(moves), MOVES[moves]
    config = dataclasses.replace(CONFIG, moves=moves, dtype="float64")
    arguments = SOURCE, MASK, PREVIOUS, TARGET, REAL
    with jax.enable_x64(True):
        rebuild, _ = split(MarginalCursor(config, rngs=nnx.Rngs(0)))

        def loss(p):
            return rebuild(params(p)).cross_entropy(*map(jnp.asarray, arguments))

        got, gradients = jax.jit(jax.value_and_grad(loss))(p)
        model = rebuild(params(p))
        weights = np.asarray(model.align(*map(jnp.asarray, arguments)))
        log_probs, priors = map(np.asarray, model(SOURCE, MASK, PREVIOUS))
        got = float(got)

    def slow(p):
        found = (oracle_cursors.sentence(p, *row, *how) for row in rows())
        return -sum(x["log_likelihood"] for x in found)

    np.testing.assert_allclose(got, slow(p), rtol=1e-10)
    laws.gradients_match_along_random_directions(gradients, slow, p)
    for b, row in enumerate(rows()):
        posterior = oracle_cursors.sentence(p, *row, *how)["nodes"]
        t, s = posterior.shape
        np.testing.assert_allclose(weights[b, :t, :s], posterior, 1e-9, 1e-12)
        assert (weights[b, t:] == 0).all()
        predicted = oracle_cursors.predictions(p, *row, *how)
        np.testing.assert_allclose(log_probs[b, :t], predicted, rtol=1e-9)
        # Before the first token is known, the cursor is where it begins.
        initial = oracle_cursors.chain(p, *row, *how)[0]
        np.testing.assert_allclose(priors[b, 0, :s], np.exp(initial), 1e-9, 1e-12)


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law):
    law(laws.model(MarginalCursor, CONFIG))


def test_a_monotone_cursor_steps_as_it_is_taught():
    config = dataclasses.replace(CONFIG, moves="monotone")
    laws.stepping_is_teacher_forcing(laws.model(MarginalCursor, config))


def test_more_padding_keeps_loss_and_gradient():
    laws.more_padding_keeps_loss_and_gradient(laws.model(MarginalCursor, CONFIG))


def test_dropout_draws_by_its_key():
    config = dataclasses.replace(CONFIG, num_layers=2, dropout=0.3, cell="lstm")
    laws.dropout_draws_by_its_key(laws.model(MarginalCursor, config))


def test_the_loss_is_the_cross_entropy_of_the_call():
    """Summed over paths, or token by token: with smoothing only the latter."""
    m = laws.model(MarginalCursor, CONFIG)
    want = m.loss(m.params, SOURCE, MASK, PREVIOUS, TARGET)

    def loss(smoothing):
        run = m.rebuild(m.params).cross_entropy
        return run(SOURCE, MASK, PREVIOUS, TARGET, REAL, smoothing=smoothing)

    np.testing.assert_allclose(loss(0.0), want, rtol=1e-5)
    logits, _ = m.call(m.params, SOURCE, MASK, PREVIOUS)
    spread = -jnp.sum(jnp.where(REAL, logits.mean(-1), 0))
    np.testing.assert_allclose(loss(0.25), 0.75 * want + 0.25 * spread, rtol=1e-5)


def test_padding_of_a_target_is_behind_its_tokens():
    """A chain has a number of steps; others would be summed over in silence."""
    m = laws.model(MarginalCursor, CONFIG)
    model, backwards = m.rebuild(m.params), (PREVIOUS, TARGET, REAL[:, ::-1])
    for name in ("cross_entropy", "align"):
        with pytest.raises(ValueError, match=r"^target_mask: expected padding after"):
            getattr(model, name)(SOURCE, MASK, *backwards)


def test_log_probabilities_sum_to_one_however_large_the_logits():
    """Each half of the logits is bounded, so that no sum over tokens is 0."""
    m = laws.model(MarginalCursor, CONFIG)
    huge = jax.tree.map(lambda x: 1e3 * x, m.params)
    logits, _ = m.call(huge, SOURCE, MASK, PREVIOUS)
    np.testing.assert_allclose(jnp.exp(logits).sum(-1), 1, rtol=1e-4)
    _, gradients = m.value_and_grad(huge, SOURCE, MASK, PREVIOUS, TARGET)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_it_is_decoded_like_every_model():
    """Greedily and by beam search, with the weights that stepping gives."""
    m = laws.model(MarginalCursor, CONFIG)
    model = m.rebuild(m.params)
    memory = model.encode(SOURCE, MASK)
    options = {"batch_size": B, "max_length": T, "bos": 1, "eos": 2, "pad": PAD}

    def step(carry, token):
        return m.step(m.params, memory, carry, token)

    one = greedy(step, model.start(memory), **options)
    five = beam_search(step, model.start(memory), beam_size=5, **options)
    for b in range(B):
        tokens = np.asarray(five.tokens[b, 0, : int(five.lengths[b, 0])])
        previous = np.append(1, tokens[:-1])[None]
        alone = SOURCE[b : b + 1], MASK[b : b + 1], previous
        logits, weights = model(*alone)
        log_prob = sum(logits[0, t, token] for t, token in enumerate(tokens))
        np.testing.assert_allclose(five.log_probs[b, 0], log_prob, rtol=1e-4)
        got = five.weights[b, 0, : len(tokens)]
        np.testing.assert_allclose(got, weights[0], 1e-4, 1e-5)
        assert five.log_probs[b, 0] >= one.log_probs[b, 0] - 1e-4
