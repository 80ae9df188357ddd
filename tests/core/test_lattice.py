"""The transducer's lattice against all its paths: values, gradients, samples, edges."""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import context, lattice
from tests import oracle_lattice, oracles
from tests.core.cases import draw

T, U, V = 5, 5, 4  # one padded shape, so that one program serves all shapes
EXACT = {"rtol": 1e-10, "atol": 1e-12}
FUNCTIONS = {
    "log_likelihood": lattice.transducer_log_likelihood,
    "posteriors": lattice.transducer_posteriors,
    "entropy": lattice.transducer_entropy,
    "best": lattice.transducer_best_path,
}


@jax.jit
def everything(blank, label, frames, labels):
    """All functions of a padded lattice, and the gradient of its log-likelihood."""
    counts = {"num_frames": frames, "num_labels": labels}
    found = {name: f(blank, label, **counts) for name, f in FUNCTIONS.items()}
    found["nodes"] = found["posteriors"].nodes
    found["weights"] = found["posteriors"].weights
    gradient = jax.grad(partial(FUNCTIONS["log_likelihood"], **counts), (0, 1))
    found["gradient"] = gradient(blank, label)
    found["sample"] = lattice.transducer_sample(
        jax.random.key(0), blank, label, **counts
    )
    return found


def ask(blank, label, frames, labels):
    """As `everything`, in float64."""
    with jax.enable_x64(True):
        given = jnp.asarray(blank), jnp.asarray(label)
        return jax.device_get(everything(*given, np.int32(frames), np.int32(labels)))


def drawn(seed, t=T, u=U, forbidden=0.0):
    """Log-probabilities of a padded lattice; padding holds NaN and infinities."""
    rng = np.random.default_rng(seed)
    blank, label = (
        np.where(rng.random(shape) < forbidden, -np.inf, rng.normal(-2, 2, shape))
        for shape in ((T, U + 1), (T, U))
    )
    rubbish = np.resize([np.nan, np.inf, -np.inf, 1e6], (T, U + 1))
    real = np.arange(T)[:, None] < t
    columns = np.arange(U + 1)[None]
    blank = np.where(real & (columns <= u), blank, rubbish)
    label = np.where(real & (columns < u), np.pad(label, ((0, 0), (0, 1))), rubbish)
    return blank, label[:, :-1]


@hypothesis.given(
    seed=st.integers(0, 2**31),
    t=st.integers(0, T),
    u=st.integers(0, U),
    forbidden=st.sampled_from([0.0, 0.0, 0.2, 1.0]),
)
@hypothesis.settings(max_examples=1000)
def test_every_shape_is_the_sum_over_its_paths(seed, t, u, forbidden):
    blank, label = drawn(seed, t, u, forbidden)
    got = ask(blank, label, t, u)
    want = oracle_lattice.transducer(blank, label, t, u)
    np.testing.assert_allclose(got["log_likelihood"], want["log_likelihood"], **EXACT)
    np.testing.assert_allclose(got["entropy"], want["entropy"], **EXACT)
    for kind in ("blank", "label"):
        posterior = want["posteriors"][kind]
        np.testing.assert_allclose(getattr(got["posteriors"], kind), posterior, **EXACT)
        # The gradient is the posterior, exactly 0 in padding.
        gradient = got["gradient"][kind == "label"]
        np.testing.assert_allclose(gradient, posterior, **EXACT)
        assert (gradient[t:] == 0).all()
    _check_path(got["best"], want, t, u, want["best"])
    _check_path(got["sample"], want, t, u, None)
    if want["log_likelihood"] > -np.inf:
        _check_sums(got, t, u)


def _check_path(path, want, t, u, best):
    """A path of the lattice with its own log-probability, or none if there is none."""
    frames = tuple(int(x) for x in path.frames[:u])
    assert (path.frames[u:] == -1).all()
    if want["log_likelihood"] == -np.inf:
        assert set(frames) <= {-1}
        assert path.log_prob == -np.inf
        return
    score = want["scores"][want["frames"].index(frames)]
    np.testing.assert_allclose(path.log_prob, score, **EXACT)
    assert score > -np.inf
    if best is not None:
        np.testing.assert_allclose(path.log_prob, best, **EXACT)


def _check_sums(got, t, u):
    """Each anti-diagonal is crossed once, each frame left once, each label emitted."""
    nodes, blank = got["nodes"], got["posteriors"].blank
    for n in range(t + u):
        crossing = [nodes[i, n - i] for i in range(T) if 0 <= n - i <= U]
        np.testing.assert_allclose(sum(crossing), 1, rtol=1e-10)
    np.testing.assert_allclose(blank.sum(axis=1)[:t], 1, rtol=1e-10)
    np.testing.assert_allclose(got["weights"].sum(axis=1)[:u], 1, rtol=1e-10)


def test_posteriors_are_weights_that_contexts_are_read_with():
    got = ask(*drawn(0), T, U)["posteriors"]
    frames = jnp.asarray(draw(1, T, 3), jnp.float32)
    weights = jnp.asarray(got.weights, jnp.float32)
    contexts = jax.vmap(context.read, in_axes=(0, None))(weights, frames)
    np.testing.assert_allclose(contexts, weights @ frames, rtol=1e-5)


def test_samples_are_drawn_by_their_probability():
    blank, label = drawn(2)
    want = oracle_lattice.transducer(blank, label, T, 2)
    rngs = jax.random.split(jax.random.key(1), 20_000)
    one = partial(lattice.transducer_sample, num_labels=2)
    with jax.enable_x64(True):
        given = jnp.asarray(blank), jnp.asarray(label)
        paths = jax.device_get(jax.vmap(one, (0, None, None))(rngs, *given))
    frames, counts = np.unique(paths.frames[:, :2], axis=0, return_counts=True)
    share = dict(
        zip(want["frames"], oracle_lattice.shares(want["scores"]), strict=True)
    )
    for path, count in zip(frames, counts, strict=True):
        p = share[tuple(path)]
        assert abs(count / len(rngs) - p) < 5 * (p * (1 - p) / len(rngs)) ** 0.5 + 1e-9
    assert sum(share[tuple(path)] for path in frames) > 0.99


def logits_and_loss(t=4, u=3, blank=1):
    """Padded logits [T, U + 1, V], labels, and the loss by all paths."""
    logits = draw(3, T, U + 1, V)
    labels = np.array([2, 0, 3, 99, -7])  # what is behind u may be anything

    def slow(logits):
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        label = np.stack([log_probs[:, i, labels[i] % V] for i in range(U)], axis=1)
        found = oracle_lattice.transducer(log_probs[:, :, blank], label, t, u)
        return -found["log_likelihood"]

    options = {"blank": blank, "num_frames": t, "num_labels": u}
    return logits, labels, slow, options


def test_the_loss_of_logits_has_their_gradient():
    logits, labels, slow, options = logits_and_loss()
    with jax.enable_x64(True):
        loss = partial(lattice.transducer_loss, labels=jnp.asarray(labels), **options)
        got, gradient = jax.value_and_grad(loss)(jnp.asarray(logits))
        _, scaled = jax.value_and_grad(lambda z: 3 * loss(z))(jnp.asarray(logits))
        gradient, scaled = np.asarray(gradient), np.asarray(scaled)
    np.testing.assert_allclose(got, slow(logits), **EXACT)
    want = oracles.numerical_gradient(slow, logits)
    np.testing.assert_allclose(gradient, want, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(scaled, 3 * gradient, **EXACT)
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-12)
    assert (gradient[4:] == 0).all()
    assert (gradient[:, 4:] == 0).all()


def test_the_loss_takes_log_probabilities_and_ignores_padding():
    logits, labels, slow, options = logits_and_loss()
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    spoiled = logits.copy()
    spoiled[4:], spoiled[:, 4:] = np.nan, -np.inf
    with jax.enable_x64(True):
        loss = partial(lattice.transducer_loss, labels=jnp.asarray(labels), **options)
        got, gradient = jax.value_and_grad(loss)(jnp.asarray(spoiled))
        arcs = lattice.transducer_arcs(
            jnp.asarray(logits), jnp.asarray(labels), blank=1, num_labels=3
        )
        counts = {"num_frames": 4, "num_labels": 3}
        plain = -lattice.transducer_log_likelihood(*arcs, **counts)
    np.testing.assert_allclose(got, slow(logits), **EXACT)
    np.testing.assert_allclose(plain, slow(logits), **EXACT)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[4:] == 0).all()


def test_gathered_arcs_pass_their_gradient_on():
    logits, labels, _, options = logits_and_loss()
    del options["blank"]

    def by_arcs(z):
        arcs = lattice.transducer_arcs(
            jax.nn.log_softmax(z), jnp.asarray(labels), blank=1, num_labels=3
        )
        return -lattice.transducer_log_likelihood(*arcs, **options)

    def fused(z):
        return lattice.transducer_loss(z, jnp.asarray(labels), blank=1, **options)

    with jax.enable_x64(True):
        got, want = (jax.grad(f)(jnp.asarray(logits)) for f in (by_arcs, fused))
    np.testing.assert_allclose(got, want, **EXACT)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integers_of_few_bits_do_not_wrap_around(dtype):
    """300 is 44 in 8 bits: counts and labels above that would be out of range."""
    loss = jax.jit(partial(lattice.ctc_loss, blank=299))
    label, frames = jnp.array([99], dtype), jnp.asarray(100, dtype)
    got = loss(jnp.zeros((300, 300)), label, num_frames=frames)
    # The label is at any run of frames.
    np.testing.assert_allclose(got, 100 * np.log(300) - np.log(5050), rtol=1e-5)


LOSSES = {
    "transducer": lambda z: lattice.transducer_loss(z[:, :3], jnp.array([1, 3])),
    "ctc": lambda z: lattice.ctc_loss(z[:, 0], jnp.array([1, 3])),
}


@pytest.mark.parametrize("name", LOSSES)
def test_second_derivatives_are_those_of_the_gradient(name):
    """Forward over reverse; forward mode alone is refused by JAX."""
    logits, along = draw(6, T, 3, V), draw(7, T, 3, V)
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(LOSSES[name]))
        _, got = jax.jvp(gradient, (jnp.asarray(logits),), (jnp.asarray(along),))
        step = 1e-6 * along
        ahead, behind = (gradient(jnp.asarray(logits + s)) for s in (step, -step))
        want = (np.asarray(ahead) - np.asarray(behind)) / 2e-6
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(LOSSES[name], (jnp.asarray(logits),), (jnp.asarray(along),))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["transducer", "ctc", "hmm"])
def test_the_gradient_of_the_best_path_is_the_path(name):
    logits = jnp.float32(draw(8, T, 3, V))

    def best(z):
        if name == "ctc":
            return lattice.ctc_best_path(z[:, 0], jnp.array([1, 3])).log_prob
        if name == "hmm":
            moves = jnp.zeros((V, V))
            return lattice.hmm_best_path(moves[0], moves, z[:, 0]).log_prob
        return lattice.transducer_best_path(z[:, :, 0], z[:, :2, 1]).log_prob

    gradient = jax.grad(best)(logits)
    assert set(np.unique(gradient)) == {0, 1}
    # Of a transducer T blanks and two labels; else one symbol at each step.
    assert gradient.sum() == (T + 2 if name == "transducer" else T)


def test_posteriors_are_differentiable():
    blank, label = drawn(4)
    along = draw(5, U, T)

    def ours(b, y):
        return jnp.sum(lattice.transducer_posteriors(b, y).weights * along)

    def slow(b):
        found = oracle_lattice.transducer(b, label, T, U)
        return float((found["posteriors"]["label"].T * along).sum())

    with jax.enable_x64(True):
        got = jax.grad(ours)(jnp.asarray(blank), jnp.asarray(label))
    want = oracles.numerical_gradient(slow, blank)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-8)


def test_long_lattices_are_stable_in_float32():
    """1000 frames, 200 labels: as in float64, with gradients of probabilities."""
    frames, labels = 1000, 200
    rng = np.random.default_rng(6)
    blank = np.log(rng.uniform(0.05, 0.95, (frames, labels + 1)))
    label = np.log1p(-np.exp(blank[:, :-1]))
    run = jax.jit(jax.value_and_grad(lattice.transducer_log_likelihood, argnums=(0, 1)))
    got, gradient = run(jnp.float32(blank), jnp.float32(label))
    with jax.enable_x64(True):
        want, exact = run(jnp.asarray(blank), jnp.asarray(label))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-5)
    for mine, theirs in zip(gradient, exact, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.sum(gradient[0], axis=1), 1, rtol=1e-4)


def test_low_precision_is_summed_in_float32():
    blank, label = drawn(7)
    half = jnp.bfloat16(blank), jnp.bfloat16(label)
    got = lattice.transducer_log_likelihood(*half)
    want = oracle_lattice.transducer(*map(np.float64, half), T, U)["log_likelihood"]
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-5)
    gradient = jax.grad(lattice.transducer_log_likelihood)(*half)
    assert gradient.dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_loss_of_low_precision_logits_is_summed_in_float32(dtype):
    """The label is in any of 300 frames: 300 paths of 301 arcs, each of 1/4."""
    loss = partial(lattice.transducer_loss, labels=jnp.array([2]))
    logits = jnp.zeros((300, 2, 4), dtype)
    got, gradient = jax.jit(jax.value_and_grad(loss))(logits)
    assert (got.dtype, gradient.dtype) == (jnp.float32, logits.dtype)
    np.testing.assert_allclose(got, 301 * np.log(4) - np.log(300), rtol=1e-5)
    assert jnp.isfinite(gradient).all()


def test_a_batch_is_its_rows():
    blank, label = (
        jnp.stack([jnp.float32(x) for x in arrays])
        for arrays in zip(drawn(8), drawn(9), strict=True)
    )
    counts = jnp.array([4, 5]), jnp.array([5, 2])
    batched = jax.vmap(
        lambda b, y, t, u: lattice.transducer_log_likelihood(
            b, y, num_frames=t, num_labels=u
        )
    )
    got, gradient = jax.value_and_grad(lambda b: batched(b, label, *counts).sum())(
        blank
    )
    one = [
        jax.value_and_grad(lattice.transducer_log_likelihood)(
            blank[i], label[i], num_frames=counts[0][i], num_labels=counts[1][i]
        )
        for i in range(2)
    ]
    np.testing.assert_allclose(got, sum(x for x, _ in one), rtol=1e-5)
    np.testing.assert_allclose(gradient, jnp.stack([g for _, g in one]), 1e-5, 1e-7)


@pytest.mark.parametrize("frames", [0, 1])
def test_no_labels_and_no_frames(frames):
    """Without labels the path is all blanks; without a frame there is none."""
    blank, label = jnp.full((frames, 1), -0.5), jnp.zeros((frames, 0))
    got = lattice.transducer_log_likelihood(blank, label)
    assert got == (-0.5 if frames else -jnp.inf)
    assert lattice.transducer_posteriors(blank, label).weights.shape == (0, frames)
    loss = lattice.transducer_loss(jnp.zeros((frames, 3, 2)), jnp.array([1, 1]))
    assert (loss == jnp.inf) == (frames == 0)


ZEROS = jnp.zeros((3, 3)), jnp.zeros((3, 2))
ERRORS = {
    r"blank: expected shape \[T, U\+1=3\], got \[3, 2\] \(one node": (
        lambda: lattice.transducer_log_likelihood(ZEROS[1], ZEROS[1])
    ),
    r"label: expected shape \[T=3, U\], got \[2, 2\]": (
        lambda: lattice.transducer_log_likelihood(ZEROS[0], jnp.zeros((2, 2)))
    ),
    r"blank: expected shape \[T, C\], got \[1, 3, 3\] \(a batch\?": (
        lambda: lattice.transducer_log_likelihood(ZEROS[0][None], ZEROS[1])
    ),
    r"num_frames: expected a number from 0 to 3, got 4 \(": (
        lambda: lattice.transducer_log_likelihood(*ZEROS, num_frames=4)
    ),
    r"num_labels: expected a number from 0 to 2, got -1 \(": (
        lambda: lattice.transducer_entropy(*ZEROS, num_labels=-1)
    ),
    r"num_labels: expected one number, got shape \[2\] \(a batch\?": (
        lambda: lattice.transducer_best_path(*ZEROS, num_labels=jnp.array([1, 2]))
    ),
    r"labels: expected ids from 0 to 3 other than the blank \(0\), got 0": (
        lambda: lattice.transducer_loss(jnp.zeros((3, 3, 4)), jnp.array([1, 0]))
    ),
    r"labels: expected ids from 0 to 3 other than the blank \(1\), got 4": (
        lambda: lattice.transducer_arcs(
            jnp.zeros((3, 3, 4)), jnp.array([0, 4]), blank=1
        )
    ),
    r"blank: expected at most 3 \(the last id\), got 4": (
        lambda: lattice.transducer_loss(
            jnp.zeros((3, 3, 4)), jnp.array([1, 2]), blank=4
        )
    ),
    r"logits: expected shape \[T, U\+1=3, V\], got \[3, 2, 4\]": (
        lambda: lattice.transducer_loss(jnp.zeros((3, 2, 4)), jnp.array([1, 2]))
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_wrong_arguments_are_named(message):
    with pytest.raises(ValueError, match="^" + message):
        ERRORS[message]()


def test_a_count_is_an_integer():
    with pytest.raises(TypeError, match="num_frames: expected an integer, got float32"):
        lattice.transducer_log_likelihood(*ZEROS, num_frames=jnp.array(2.0))


def test_what_is_wrong_and_not_known_gives_nan():
    loss = jax.jit(lattice.transducer_loss, static_argnames="blank")
    logits = jnp.zeros((3, 3, 4))
    for labels in ([1, 0], [1, 4], [-1, 1]):
        assert jnp.isnan(loss(logits, jnp.array(labels)))
    good = jnp.array([1, 2])
    assert jnp.isnan(loss(logits, good, num_frames=4))
    assert jnp.isfinite(loss(logits, good, num_frames=2))
    arcs = jax.jit(lattice.transducer_arcs)
    assert jnp.isnan(arcs(logits, jnp.array([0, 1]))[1]).all()


@pytest.mark.parametrize("symbol", [0, 2, 3])  # the blank, the label, neither
def test_nan_in_a_real_frame_comes_out_of_the_loss(symbol):
    logits = jnp.zeros((3, 2, 4)).at[1, 0, symbol].set(jnp.nan)
    run = jax.jit(jax.value_and_grad(lattice.transducer_loss))
    loss, gradient = run(logits, jnp.array([2]))
    assert jnp.isnan(loss)
    assert jnp.isnan(gradient).any()


@pytest.mark.parametrize("kind", ["blank", "label"])
def test_nan_in_a_real_arc_comes_out_of_sums_over_paths(kind):
    arcs = {"blank": ZEROS[0], "label": ZEROS[1]}
    arcs[kind] = arcs[kind].at[1, 0].set(jnp.nan)
    assert jnp.isnan(lattice.transducer_log_likelihood(**arcs))
    assert jnp.isnan(lattice.transducer_entropy(**arcs))


def test_nothing_inside_is_nan():
    """Eagerly, under `jax_debug_nans`, where no path is possible."""
    with jax.debug_nans(True):
        none = jnp.full((3, 3), -jnp.inf), jnp.zeros((3, 2))
        run = jax.value_and_grad(lattice.transducer_log_likelihood, argnums=(0, 1))
        got, gradient = run(*none)
        entropy = jax.grad(lattice.transducer_entropy)(*none)
    assert got == -jnp.inf
    assert not any(g.any() for g in (*gradient, entropy))
