"""The deep LSTM as a language model: the paper's loop, in segments and padded."""

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax as aj
from tests import oracles
from tests.models.laws import check_tokens_are_named

pytestmark = pytest.mark.versions

V, D, L, B, T = 11, 3, 2, 2, 7
CONFIG = aj.LSTMLMConfig(vocab_size=V, hidden_dim=D, num_layers=L)
TOKENS = np.random.default_rng(0).integers(0, V, (B, T)).astype(np.int32)


def build(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    return aj.split(aj.LSTMLM(config, rngs=nnx.Rngs(0)))


def papers_matrices(params, n):
    """Layer n in the paper's layout: W_x from the input, W_below, U, b and P."""
    layer = params["stack"]["layers"][str(n)]
    found, gates = {}, "ifgo"
    w = np.float64(layer["w"])
    if n:
        w = np.concatenate([np.float64(params["stack"]["w_skip"][str(n - 1)]), w])
    for name, array in (("W", w), ("U", layer["u"]), ("b", layer["b"])):
        for gate, part in zip(gates, np.split(np.float64(array), 4, -1), strict=True):
            found[f"{name}_{gate}"] = part.T
    for gate, name in zip("ifo", ("w_input", "w_forget", "w_output"), strict=True):
        found[f"P_{gate}"] = np.float64(layer[name])
    return found


def logits_by_loop(params, tokens, vectors):
    """Graves 2013, eqs. 1 to 11, of one text; `vectors[i]` is the input of token i."""
    layers = [papers_matrices(params, n) for n in range(L)]
    carries, found = [(np.zeros(D), np.zeros(D))] * L, []
    for token in tokens:
        x, states = vectors[token], []
        for n, p in enumerate(layers):
            inputs = np.concatenate([x, states[-1]]) if n else x
            carries[n] = oracles.lstm(p, carries[n], inputs)
            states.append(carries[n][0])
        hidden = np.concatenate(states)
        found.append(np.float64(params["w_output"]) @ hidden + params["b_output"])
    return np.array(found)


@pytest.mark.parametrize("embed_dim", [None, 5], ids=["one-hot", "embedded"])
def test_it_is_the_papers_loop(embed_dim):
    rebuild, params = build(embed_dim=embed_dim)
    rng = np.random.default_rng(1)
    noise = jax.tree.map(lambda x: jnp.float32(rng.normal(0, 0.3, x.shape)), params)
    params = jax.tree.map(jnp.add, params, noise)
    vectors = np.eye(V) if embed_dim is None else np.float64(params["embedding"])
    logits, weights = jax.jit(lambda p: rebuild(p)(TOKENS))(params)
    assert weights is None
    assert logits.shape == (B, T, V)
    for b in range(B):
        want = logits_by_loop(params, TOKENS[b], vectors)
        np.testing.assert_allclose(logits[b], want, rtol=1e-4, atol=1e-5)


def test_pieces_of_any_size_and_single_steps_give_the_whole():
    rebuild, params = build()
    model = rebuild(params)
    whole, _ = model(TOKENS)
    carry, found = model.start(B), []
    for piece in np.split(TOKENS, [1, 3], axis=1):
        carry, logits = model.prefill(carry, piece)
        found.append(logits)
    np.testing.assert_allclose(jnp.concatenate(found, 1), whole, rtol=1e-5, atol=1e-6)
    last, carry = carry, model.start(B)
    for t in range(T):
        carry, logits, read = model.step(carry, TOKENS[:, t])
        np.testing.assert_allclose(logits, whole[:, t], rtol=1e-5, atol=1e-6)
        assert not read.any()
    chex.assert_trees_all_close(carry, last, rtol=1e-5, atol=1e-6)


def test_every_decoder_takes_its_step():
    rebuild, params = build()
    model = rebuild(params)
    found = aj.decode.greedy(
        model.step, model.start(B), batch_size=B, bos=0, eos=V - 1, max_length=4
    )
    carry, token = model.start(1), jnp.zeros(1, jnp.int32)
    length = int(found.lengths[0, 0])
    assert length > 1
    for t in range(length - 1):  # the last token is the EOS of the longest length
        carry, logits, _ = model.step(carry, token)
        token = logits.argmax(-1)
        assert int(found.tokens[0, 0, t]) == int(token[0])


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_padding_on_either_side_moves_no_state(left):
    rebuild, params = build()
    model = rebuild(params)
    lengths = [3, 5]
    mask = np.zeros((B, 6), bool)
    for row, n in zip(mask, lengths, strict=True):
        row[-n:] = left
        row[:n] |= not left
    padded = np.full((B, 6), -1, np.int32)  # of no token
    padded[mask] = np.concatenate([TOKENS[b, :n] for b, n in enumerate(lengths)])
    carry, logits = model.prefill(model.start(B), padded, mask)
    for b, n in enumerate(lengths):
        row, want = model.prefill(model.start(1), TOKENS[b : b + 1, :n])
        np.testing.assert_allclose(logits[b][mask[b]], want[0], rtol=1e-5, atol=1e-6)
        mine = jax.tree.map(lambda c, b=b: c[b : b + 1], carry)
        chex.assert_trees_all_close(mine, row, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_clipped_at_every_step_and_of_the_text_alone():
    """A small limit changes the gradient of the layers, not that of the output."""
    grads = {}
    for limit in (None, 1e-3):
        rebuild, params = build(gradient_limit=limit)

        def nats(params, rebuild=rebuild):
            logits, _ = rebuild(params)(TOKENS[:, :-1])
            return aj.token_cross_entropy(logits, jnp.array(TOKENS[:, 1:])).sum()

        grads[limit] = jax.jit(jax.grad(nats))(params)
    chex.assert_trees_all_close(grads[None]["w_output"], grads[1e-3]["w_output"])
    free, clipped = (jax.tree.leaves(grads[limit]["stack"]) for limit in (None, 1e-3))
    for a, b in zip(free, clipped, strict=True):
        assert float(abs(b).max()) < float(abs(a).max())


def test_dropout_is_drawn_from_the_key_and_never_on_the_way_from_step_to_step():
    rebuild, params = build(dropout=0.5, embed_dim=5)
    model = rebuild(params)
    keys = jax.random.split(jax.random.key(0))
    first, second = (model(TOKENS, rng=key)[0] for key in keys)
    assert not np.allclose(first, second, 1e-3)
    np.testing.assert_array_equal(first, model(TOKENS, rng=keys[0])[0])
    still, _ = model.segment(model.start(B), TOKENS)
    moved, _ = model.segment(model.start(B), TOKENS, rng=keys[0])
    # Dropped on the way into a layer, the carry itself has no zeros.
    assert all(x.all() for x in jax.tree.leaves(moved))
    chex.assert_trees_all_equal_shapes_and_dtypes(still, moved)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_cell_fits(cell):
    rebuild, params = build(cell=cell, gradient_limit=None)
    logits, _ = rebuild(params)(TOKENS)
    assert np.isfinite(logits).all()


def test_bfloat16_is_the_dtype_of_computation_only():
    rebuild, params = build()
    low, _ = build(dtype="bfloat16")
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    model = low(params)
    carry, logits = model.prefill(model.start(B), TOKENS)
    assert logits.dtype == "float32"
    chex.assert_trees_all_equal_shapes_and_dtypes(carry, model.start(B))
    np.testing.assert_allclose(logits, rebuild(params)(TOKENS)[0], rtol=0.1, atol=0.1)


def weights_of(**changes):
    """Number of parameters of a config, none of which is drawn."""
    config = aj.LSTMLMConfig(**changes)
    shapes = jax.eval_shape(lambda: aj.split(aj.LSTMLM(config, rngs=nnx.Rngs(0)))[1])
    return sum(x.size for x in jax.tree.leaves(shapes))


def test_the_papers_numbers_of_weights():
    """4.3M by characters and 54M by words; of 7 x 700 see the comment."""
    assert round(weights_of(vocab_size=49) / 1e6, 1) == 4.3
    assert round(weights_of(vocab_size=10_000) / 1e6) == 54
    # "approximately 21.3M" in section 3.2 is what five layers have by the equations.
    deep = partial(weights_of, vocab_size=205, hidden_dim=700)
    assert round(deep(num_layers=5) / 1e6, 1) == 21.3
    assert round(deep(num_layers=7) / 1e6, 1) == 30.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, "num_layers: expected at least 1, got 0"),
        ({"embed_dim": 0}, "embed_dim: expected at least 1, got 0"),
        ({"cell": "lstm"}, "gradient_limit: expected None with lstm, got 1.0"),
        ({"cell": "rnn", "gradient_limit": None}, "cell: expected one of gru, lstm, p"),
        ({"gradient_limit": -1.0}, "gradient_limit: expected more than 0, got -1.0"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_an_id_outside_the_vocabulary_is_named():
    rebuild, params = build()
    for token in (V, -1):
        with pytest.raises(ValueError, match=f"tokens: expected ids from 0 to {V - 1}"):
            rebuild(params)(np.array([[token]]))


def test_other_tokens_and_masks_are_named():
    rebuild, params = build()
    check_tokens_are_named(rebuild(params), TOKENS)
