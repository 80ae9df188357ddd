"""CTC as a model against all labellings of all frames, and its greedy decoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.decode import ctc_greedy
from attnjax.models.ctc import CTC, CTCConfig
from attnjax.models.state import split
from tests import oracle_lattice

B, T, V, S = 3, 5, 4, 11
SOURCE = np.array([[3, 4, 5, 6, 7], [8, 9, 1, 0, 0], [10, 2, 3, 4, 0]], np.int32)
LABELS = np.array([[1, 2, 2], [3, 0, 0], [0, 0, 0]], np.int32)
MASK, LABEL_MASK = SOURCE > 0, LABELS > 0
ARGUMENTS = SOURCE, MASK, LABELS, LABEL_MASK


def model(**changes):
    sizes = {"embed_dim": 3, "hidden_dim": 5, "vocab_size": V, "source_vocab_size": S}
    rebuild, params = split(CTC(CTCConfig(**sizes | changes), rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    return rebuild, jax.tree.map(
        lambda x: jnp.asarray(rng.normal(0, 0.6, x.shape), x.dtype), params
    )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_loss_and_the_best_path_are_those_of_all_labellings(cell):
    rebuild, params = model(cell=cell, num_layers=2)
    logits = np.asarray(rebuild(params)(SOURCE, MASK), np.float64)
    assert logits.shape == (B, T, V)
    losses = rebuild(params).losses(*ARGUMENTS)
    best = rebuild(params).best_path(*ARGUMENTS)
    for b in range(B):
        real = logits[b][MASK[b]]
        log_probs = real - np.log(np.exp(real).sum(-1, keepdims=True))
        want = oracle_lattice.ctc(log_probs, LABELS[b][LABEL_MASK[b]], 0)
        np.testing.assert_allclose(losses[b], -want["log_likelihood"], rtol=1e-5)
        np.testing.assert_allclose(best.log_prob[b], want["best"], rtol=1e-5)


def test_rows_and_padding_change_nothing():
    rebuild, params = model()
    losses = rebuild(params).losses(*ARGUMENTS)
    wide = [np.pad(x, ((0, 0), (0, 2))) for x in ARGUMENTS]
    np.testing.assert_allclose(rebuild(params).losses(*wide), losses, rtol=1e-5)
    spoiled = np.where(MASK, SOURCE, 9), MASK, np.where(LABEL_MASK, LABELS, 3)
    got = rebuild(params).losses(*spoiled, LABEL_MASK)
    np.testing.assert_allclose(got, losses, rtol=1e-5)
    alone = rebuild(params).losses(*(x[1:2] for x in ARGUMENTS))
    np.testing.assert_allclose(alone[0], losses[1], rtol=1e-5)


def test_padding_is_behind_what_is_real():
    """A count cannot say where else it is: named, or NaN where it is not known."""
    rebuild, params = model()
    backwards = SOURCE, MASK[:, ::-1], LABELS, LABEL_MASK
    with pytest.raises(ValueError, match=r"^mask: expected padding after .* in row 1"):
        rebuild(params).losses(*backwards)
    with pytest.raises(ValueError, match=r"^label_mask: expected padding after"):
        rebuild(params).losses(SOURCE, MASK, LABELS, LABEL_MASK[:, ::-1])
    losses = jax.jit(lambda *x: rebuild(params).losses(*x))(*backwards)
    assert np.isnan(losses).tolist() == [False, True, True]


def test_it_reads_vectors():
    rebuild, params = model(source_vocab_size=0, input_dim=7)
    vectors = np.random.default_rng(1).normal(size=(B, T, 7)).astype(np.float32)
    assert rebuild(params)(vectors, MASK).shape == (B, T, V)
    with pytest.raises(ValueError, match=r"x: expected shape \[B, T, 7\], got"):
        rebuild(params)(vectors[..., :5], MASK)


def test_dropout_is_drawn_from_the_key():
    rebuild, params = model(dropout=0.5)
    one, again, other = (
        rebuild(params).losses(*ARGUMENTS, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_greedy_collapses_the_best_symbols():
    logits = np.random.default_rng(2).normal(size=(17, 7, 3)).astype(np.float32)
    counts = np.random.default_rng(3).integers(1, 8, 17)
    counts[0] = 0
    found = ctc_greedy(jnp.asarray(logits), jnp.asarray(counts), blank=1)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for b, count in enumerate(counts):
        path = logits[b, :count].argmax(-1)
        want = oracle_lattice.collapse(path, 1)
        length = int(found.lengths[b, 0])
        assert found.labels[b, 0, :length].tolist() == want
        assert (found.labels[b, 0, length:] == 1).all()
        total = log_probs[b, :count].max(-1).sum() if count else -np.inf
        np.testing.assert_allclose(found.log_probs[b, 0], total, rtol=1e-5)
        frames = found.frames[b, 0, :length].tolist()
        assert frames == sorted(set(frames))
        assert path[frames].tolist() == want
        assert (found.frames[b, 0, length:] == -1).all()
