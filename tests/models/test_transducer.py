"""The RNN Transducer against sums over paths, and its laws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models.state import split
from attnjax.models.transducer import Transducer, TransducerConfig
from tests import oracles

B, T, U, V, S = 3, 5, 3, 7, 11
SOURCE = np.array([[3, 4, 5, 6, 7], [8, 9, 1, 0, 0], [10, 2, 3, 4, 0]], np.int32)
LABELS = np.array([[1, 2, 2], [6, 0, 0], [0, 0, 0]], np.int32)
MASK, LABEL_MASK = SOURCE > 0, LABELS > 0
SIZES = {"embed_dim": 3, "hidden_dim": 5, "joint_dim": 4}


def model(dtype="float32", seed=0, **changes):
    config = TransducerConfig(
        **{"vocab_size": V, "source_vocab_size": S, "dtype": dtype} | SIZES | changes
    )
    rebuild, params = split(Transducer(config, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(seed)
    random = jax.tree.map(lambda x: rng.normal(0, 0.6, x.shape), params)
    return rebuild, jax.tree.map(lambda x: x.astype(dtype), random)


def papers_lstm(p):
    """W_i, U_i, b_i and so on, of matrices with the gates i, f, g, o side by side."""
    return {
        f"{name}_{gate}": np.split(p[ours], 4, axis=-1)[k].T
        for name, ours in (("W", "w"), ("U", "u"), ("b", "b"))
        for k, gate in enumerate("ifgo")
    }


def prediction_network(p, labels):
    """g_0 to g_U by Graves's loop: the first input is 0, entry u has seen u labels."""
    carry = np.zeros(5), np.zeros(5)
    outputs = []
    for x in [np.zeros(3), *(p["label_embedding"][k] for k in labels)]:
        carry = oracles.lstm(papers_lstm(p["predictor"]["0"]), carry, x)
        outputs.append(carry[0] @ p["w_label"])
    return outputs


def paths(T, U):
    """Every order of T blanks (0) and U labels (1) that ends with a blank."""
    for where in itertools.combinations(range(T + U - 1), U):
        yield [int(n in where) for n in range(T + U)]


def test_the_loss_is_the_sum_over_paths_in_float64():
    """From the encoder's output on: its layers are those of other models' tests."""
    with jax.enable_x64(True):
        rebuild, params = model("float64")
        made = rebuild(params)
        frames = np.asarray(made.encode(SOURCE, MASK))
        got = made.losses(SOURCE, MASK, LABELS, LABEL_MASK)
    p = jax.tree.map(np.asarray, params)
    for b in range(B):
        labels = LABELS[b][LABEL_MASK[b]]
        predicted = prediction_network(p, labels)
        total, count = 0.0, int(MASK[b].sum())
        for path in paths(count, len(labels)):
            t = u = 0
            log_prob = 0.0
            for emits in path:
                hidden = np.tanh(frames[b, t] + predicted[u] + p["b_joint"])
                logits = hidden @ p["w_output"] + p["b_output"]
                log_probs = logits - np.log(np.exp(logits).sum())
                log_prob += log_probs[labels[u] if emits else 0]
                t, u = (t, u + 1) if emits else (t + 1, u)
            total += np.exp(log_prob)
        np.testing.assert_allclose(got[b], -np.log(total), rtol=1e-10)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_prediction_network_never_sees_its_own_label(cell):
    rebuild, params = model(cell=cell)
    plain = rebuild(params).predict(LABELS)
    assert plain.shape == (B, U + 1, 4)
    for u in range(U):
        changed = LABELS.copy()
        changed[:, u] = 5
        other = rebuild(params).predict(changed)
        np.testing.assert_array_equal(other[:, : u + 1], plain[:, : u + 1])
        assert np.abs(other[:, u + 1] - plain[:, u + 1]).max() > 1e-3


def test_stepping_is_the_call():
    rebuild, params = model(num_layers=2)
    made = rebuild(params)
    logits = made(SOURCE, MASK, LABELS)
    assert logits.shape == (B, T, U + 1, V)
    frames, state = made.encode(SOURCE, MASK), made.start(B)
    for u in range(U + 1):
        for t in range(T):
            got = made.join(frames[:, t], state.projected)
            np.testing.assert_allclose(got, logits[:, t, u], rtol=1e-4, atol=1e-5)
        if u < U:
            state = made.advance(state, jnp.asarray(LABELS[:, u]))


def test_rows_and_padding_change_nothing():
    rebuild, params = model()
    losses = rebuild(params).losses(SOURCE, MASK, LABELS, LABEL_MASK)
    wide = [np.pad(x, ((0, 0), (0, 2))) for x in (SOURCE, MASK, LABELS, LABEL_MASK)]
    np.testing.assert_allclose(rebuild(params).losses(*wide), losses, rtol=1e-5)
    poisoned = np.where(LABEL_MASK, LABELS, 5), np.where(MASK, SOURCE, 9)
    got = rebuild(params).losses(poisoned[1], MASK, poisoned[0], LABEL_MASK)
    np.testing.assert_allclose(got, losses, rtol=1e-5)
    for b in range(B):
        alone = (x[b : b + 1] for x in (SOURCE, MASK, LABELS, LABEL_MASK))
        np.testing.assert_allclose(
            rebuild(params).losses(*alone)[0], losses[b], rtol=1e-5
        )


def test_a_row_without_frames_has_no_gradient():
    rebuild, params = model()
    mask = MASK.copy()
    mask[1] = False

    def loss(params):
        nats = rebuild(params).losses(SOURCE, mask, LABELS, LABEL_MASK)
        return jnp.where(mask.any(axis=1), nats, 0).sum()

    value, gradient = jax.value_and_grad(loss)(params)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_the_best_path_is_the_best_of_all():
    rebuild, params = model(seed=4)
    made = rebuild(params)
    found = made.best_path(SOURCE, MASK, LABELS, LABEL_MASK)
    log_probs = np.asarray(jax.nn.log_softmax(made(SOURCE, MASK, LABELS)))
    for b in range(B):
        labels, count = LABELS[b][LABEL_MASK[b]], int(MASK[b].sum())
        best = (-np.inf, None)
        for path in paths(count, len(labels)):
            t = u = 0
            total, frames = 0.0, []
            for emits in path:
                total += log_probs[b, t, u, labels[u] if emits else 0]
                if emits:
                    frames.append(t)
                t, u = (t, u + 1) if emits else (t + 1, u)
            best = max(best, (total, frames))
        np.testing.assert_allclose(found.log_prob[b], best[0], rtol=1e-5)
        assert found.frames[b].tolist() == [*best[1], *[-1] * (U - len(labels))]


def test_padding_is_behind_what_is_real():
    rebuild, params = model()
    with pytest.raises(ValueError, match=r"^mask: expected padding after .* in row 1"):
        rebuild(params).losses(SOURCE, MASK[:, ::-1], LABELS, LABEL_MASK)
    with pytest.raises(ValueError, match=r"^label_mask: expected padding after"):
        rebuild(params).best_path(SOURCE, MASK, LABELS, LABEL_MASK[:, ::-1])


def test_vectors_are_inputs_too():
    rebuild, params = model(source_vocab_size=0, input_dim=2)
    vectors = np.random.default_rng(0).normal(size=(B, T, 2)).astype(np.float32)
    losses = rebuild(params).losses(vectors, MASK, LABELS, LABEL_MASK)
    assert np.isfinite(losses).all()
    with pytest.raises(ValueError, match=r"x: expected shape \[B, T, 2\], got"):
        rebuild(params).encode(vectors[..., :1], MASK)


def test_labels_that_are_no_labels_are_refused():
    rebuild, params = model()
    wrong = LABELS.copy()
    wrong[0, 1] = V
    with pytest.raises(ValueError, match=r"expected ids"):
        rebuild(params).predict(wrong)


def test_dropout_draws_by_its_key():
    rebuild, params = model(dropout=0.4, num_layers=2)
    made = rebuild(params)
    given = SOURCE, MASK, LABELS, LABEL_MASK
    one, same, other = (made.losses(*given, jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(made.losses(*given), made.losses(*given))
