"""CTC against all labellings of all frames, optax's loss, and its edges."""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attnjax.core import lattice
from tests import oracle_lattice, oracles

T, U, V = 5, 3, 3  # one padded shape, so that one program serves all shapes
BLANK = 1
EXACT = {"rtol": 1e-10, "atol": 1e-12}


@jax.jit
def everything(log_probs, labels, frames, count):
    """All functions of a padded lattice, and the gradient of its log-likelihood."""
    options = {"blank": BLANK, "num_frames": frames, "num_labels": count}
    value = partial(lattice.ctc_log_likelihood, labels=labels, **options)
    found = {
        "posteriors": lattice.ctc_posteriors(log_probs, labels, **options),
        "best": lattice.ctc_best_path(log_probs, labels, **options),
    }
    found["log_likelihood"], found["gradient"] = jax.value_and_grad(value)(log_probs)
    return found


def ask(log_probs, labels, frames, count):
    """As `everything`, in float64."""
    with jax.enable_x64(True):
        given = jnp.asarray(log_probs), jnp.asarray(labels)
        return jax.device_get(everything(*given, np.int32(frames), np.int32(count)))


def drawn(seed, frames, count, forbidden=0.0):
    """Log-probabilities [T, V] and labels [U]; padding holds rubbish."""
    rng = np.random.default_rng(seed)
    log_probs = np.where(
        rng.random((T, V)) < forbidden, -np.inf, rng.normal(-2, 2, (T, V))
    )
    rubbish = np.resize([np.nan, np.inf, -np.inf, 1e6], (T, V))
    log_probs = np.where(np.arange(T)[:, None] < frames, log_probs, rubbish)
    labels = rng.choice([0, 2], U)  # every other one is a repeat
    labels[count:] = [99, -7, BLANK][: U - count]
    return log_probs, labels


@hypothesis.given(
    seed=st.integers(0, 2**31),
    frames=st.integers(0, T),
    count=st.integers(0, U),
    forbidden=st.sampled_from([0.0, 0.0, 0.2, 1.0]),
)
@hypothesis.settings(max_examples=300)
def test_every_shape_is_the_sum_over_its_paths(seed, frames, count, forbidden):
    log_probs, labels = drawn(seed, frames, count, forbidden)
    got = ask(log_probs, labels, frames, count)
    want = oracle_lattice.ctc(log_probs[:frames], labels[:count], BLANK)
    np.testing.assert_allclose(got["log_likelihood"], want["log_likelihood"], **EXACT)
    # The gradient is the posterior of each symbol, exactly 0 in padding.
    np.testing.assert_allclose(got["gradient"][:frames], want["nodes"], **EXACT)
    assert (got["gradient"][frames:] == 0).all()
    possible = want["log_likelihood"] > -np.inf
    label, blank = got["posteriors"]
    np.testing.assert_allclose(blank[:frames], want["nodes"][:, BLANK], **EXACT)
    for v in (0, 2):
        at = label[:frames, :count][:, labels[:count] == v].sum(axis=1)
        np.testing.assert_allclose(at, want["nodes"][:, v], **EXACT)
    assert (label[:, count:] == 0).all()
    total = label.sum(axis=1) + blank
    np.testing.assert_allclose(total, possible * (np.arange(T) < frames), atol=1e-12)
    _check_path(got["best"], log_probs, labels, frames, count, want)


def _check_path(path, log_probs, labels, frames, count, want):
    """The best path collapses to the labels, in order, and has its own probability."""
    positions = path.positions[:frames]
    np.testing.assert_allclose(path.log_prob, want["best"], **EXACT)
    assert (path.positions[frames:] == -1).all()
    if want["best"] == -np.inf:
        assert (positions == -1).all()
        return
    symbols = np.where(positions < 0, BLANK, labels[positions])
    assert oracle_lattice.collapse(symbols, BLANK) == list(labels[:count])
    assert sorted(set(positions) - {-1}) == list(range(count))
    score = log_probs[np.arange(frames), symbols].sum()
    np.testing.assert_allclose(score, want["best"], **EXACT)


def test_the_loss_of_logits_has_their_gradient():
    logits, labels = drawn(1, 4, 2)
    with jax.enable_x64(True):
        loss = partial(
            lattice.ctc_loss,
            labels=jnp.asarray(labels),
            **{"blank": BLANK, "num_frames": 4, "num_labels": 2},
        )
        got, gradient = jax.value_and_grad(loss)(jnp.asarray(logits))
        _, scaled = jax.value_and_grad(lambda z: 3 * loss(z))(jnp.asarray(logits))
        gradient, scaled = np.asarray(gradient), np.asarray(scaled)

    def slow(real):
        log_probs = real - np.log(np.exp(real).sum(-1, keepdims=True))
        return -oracle_lattice.ctc(log_probs, labels[:2], BLANK)["log_likelihood"]

    np.testing.assert_allclose(got, slow(logits[:4]), **EXACT)
    want = oracles.numerical_gradient(slow, logits[:4])
    np.testing.assert_allclose(gradient[:4], want, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(scaled, 3 * gradient, **EXACT)
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-12)
    assert (gradient[4:] == 0).all()


def test_the_loss_is_optaxs():
    """Where there is a path: without one optax gives a large number."""
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(7, 31, 11)).astype(np.float32)
    labels = rng.integers(1, 11, (7, 13))
    frames, counts = rng.integers(27, 32, 7), rng.integers(0, 14, 7)

    def ours(logits):
        def one(logits, labels, frames, count):
            return lattice.ctc_loss(logits, labels, num_frames=frames, num_labels=count)

        return jax.vmap(one)(logits, *map(jnp.asarray, (labels, frames, counts)))

    def theirs(logits):
        padded = (np.arange(31) >= frames[:, None]).astype(np.float32)
        absent = (np.arange(13) >= counts[:, None]).astype(np.float32)
        return optax.ctc_loss(logits, padded, labels, absent)

    def both(f):
        losses, pull = jax.vjp(f, jnp.asarray(logits))
        return losses, pull(jnp.ones_like(losses))[0]

    (values, got), (expected, want) = jax.jit(lambda: (both(ours), both(theirs)))()
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_the_loss_is_torchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(11, 5)).astype(np.float32), [3, 3, 1, 4]
    theirs = torch.nn.functional.ctc_loss(
        torch.tensor(logits).log_softmax(-1)[:, None],
        torch.tensor([labels]),
        *(torch.tensor([11]), torch.tensor([4])),
        reduction="sum",
    )
    ours = lattice.ctc_loss(jnp.asarray(logits), jnp.array(labels))
    np.testing.assert_allclose(ours, float(theirs), rtol=1e-5)


@pytest.mark.parametrize(("labels", "needs"), [([1], 1), ([1, 2], 2), ([1, 1, 1], 5)])
def test_labels_and_repeats_need_so_many_frames(labels, needs):
    run = jax.jit(jax.value_and_grad(lattice.ctc_loss))
    enough, _ = run(jnp.ones((needs, 3)), jnp.array(labels))
    # Exactly one path.
    np.testing.assert_allclose(enough, needs * np.log(3), rtol=1e-6)
    few, nothing = run(jnp.ones((needs - 1, 3)), jnp.array(labels))
    assert few == jnp.inf
    assert not nothing.any()


def test_no_labels_and_no_frames():
    none = jnp.zeros(0, jnp.int32)
    assert lattice.ctc_log_likelihood(jnp.zeros((0, 3)), none) == 0
    assert lattice.ctc_log_likelihood(jnp.full((3, 2), -0.5), none) == -1.5
    assert lattice.ctc_loss(jnp.zeros((0, 3)), jnp.array([1])) == jnp.inf


def test_long_lattices_are_stable_in_float32():
    """1000 frames, 200 labels: as in float64, with gradients of probabilities."""
    rng = np.random.default_rng(4)
    log_probs = np.log(rng.dirichlet(np.full(29, 0.3), 1000) + 1e-9)
    labels = jnp.asarray(rng.integers(1, 29, 200))
    run = jax.jit(jax.value_and_grad(lattice.ctc_log_likelihood))
    got, gradient = run(jnp.float32(log_probs), labels)
    with jax.enable_x64(True):
        want, exact = run(jnp.asarray(log_probs), labels)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(gradient, exact, rtol=0, atol=1e-3)
    np.testing.assert_allclose(gradient.sum(axis=1), 1, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_is_summed_in_float32(dtype):
    log_probs, labels = drawn(5, T, 2)
    half = jnp.asarray(log_probs, dtype)
    run = jax.value_and_grad(partial(lattice.ctc_log_likelihood, blank=BLANK))
    got, gradient = run(half, jnp.asarray(labels[:2]))
    want = oracle_lattice.ctc(np.float64(half), labels[:2], BLANK)
    assert (got.dtype, gradient.dtype) == (jnp.float32, half.dtype)
    np.testing.assert_allclose(got, want["log_likelihood"], rtol=1e-5)


ZEROS = jnp.zeros((3, 4))
ERRORS = {
    r"labels: expected ids from 0 to 3 other than the blank \(0\), got 0": (
        lambda: lattice.ctc_loss(ZEROS, jnp.array([1, 0]))
    ),
    r"labels: expected ids from 0 to 3 other than the blank \(1\), got 4": (
        lambda: lattice.ctc_posteriors(ZEROS, jnp.array([0, 4]), blank=1)
    ),
    r"blank: expected at most 3 \(the last id\), got 4": (
        lambda: lattice.ctc_best_path(ZEROS, jnp.array([1]), blank=4)
    ),
    r"num_frames: expected a number from 0 to 3, got 4 \(": (
        lambda: lattice.ctc_loss(ZEROS, jnp.array([1]), num_frames=4)
    ),
    r"log_probs: expected shape \[T, V\], got \[1, 3, 4\] \(a batch\?": (
        lambda: lattice.ctc_log_likelihood(ZEROS[None], jnp.array([1]))
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_wrong_arguments_are_named(message):
    with pytest.raises(ValueError, match="^" + message):
        ERRORS[message]()


def test_what_is_wrong_and_not_known_gives_nan():
    loss = jax.jit(lattice.ctc_loss)
    for labels in ([1, 0], [1, 4], [-1, 1]):
        assert jnp.isnan(loss(ZEROS, jnp.array(labels)))
    good = jnp.array([1, 2])
    assert jnp.isnan(loss(ZEROS, good, num_frames=4))
    assert jnp.isfinite(loss(ZEROS, good, num_frames=2))


@pytest.mark.parametrize("symbol", [0, 1, 3])  # the blank, a label, neither
def test_nan_in_a_real_frame_comes_out(symbol):
    labels = jnp.array([1, 2])
    spoiled = ZEROS.at[1, symbol].set(jnp.nan)
    assert jnp.isnan(lattice.ctc_loss(spoiled, labels))
    # Log-probabilities of symbols that no path has are not read.
    total = lattice.ctc_log_likelihood(spoiled, labels)
    assert jnp.isnan(total) == (symbol != 3)


def test_nothing_inside_is_nan():
    """Eagerly, under `jax_debug_nans`, where no path is possible."""
    with jax.debug_nans(True):
        none = jnp.full((3, 3), -jnp.inf)
        run = jax.value_and_grad(lattice.ctc_log_likelihood)
        got, gradient = run(none, jnp.array([1]))
        loss, of_logits = jax.value_and_grad(lattice.ctc_loss)(none, jnp.array([1]))
        best = lattice.ctc_best_path(none, jnp.array([1]))
    assert (got, loss, best.log_prob) == (-jnp.inf, jnp.inf, -jnp.inf)
    assert not gradient.any()
    assert not of_logits.any()
