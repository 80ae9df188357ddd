"""A cursor over source positions against all its paths, and what moves it."""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import lattice, windows
from tests import oracle_lattice, oracles
from tests.core.cases import draw

T, S = 5, 3  # one padded shape, so that one program serves all lengths
EXACT = {"rtol": 1e-10, "atol": 1e-12}


@jax.jit
def everything(initial, transitions, emissions, steps):
    """All functions of a padded chain, and the gradient of its log-likelihood."""
    chain, counted = (initial, transitions, emissions), {"num_steps": steps}
    likelihood = partial(lattice.hmm_log_likelihood, **counted)
    value, gradient = jax.value_and_grad(likelihood, (0, 1, 2))(*chain)
    return {
        "log_likelihood": value,
        "gradient": gradient,
        "nodes": lattice.hmm_posteriors(*chain, **counted),
        "filter": lattice.hmm_filter(*chain, **counted),
        "entropy": lattice.hmm_entropy(*chain, **counted),
        "best": lattice.hmm_best_path(*chain, **counted),
        "sample": lattice.hmm_sample(jax.random.key(0), *chain, **counted),
    }


def drawn(seed, steps=T, *, shared=False, forbidden=0.0):
    """Log-probabilities of a chain; padding holds NaN and infinities."""
    rng = np.random.default_rng(seed)
    shapes = (S,), (S, S) if shared else (T - 1, S, S), (T, S)
    chain = [
        np.where(rng.random(shape) < forbidden, -np.inf, rng.normal(-2, 2, shape))
        for shape in shapes
    ]
    chain[2][steps:] = np.nan
    if not shared:
        chain[1][max(steps - 1, 0) :] = np.inf
    return chain


def ask(chain, steps):
    with jax.enable_x64(True):
        given = map(jnp.asarray, chain)
        return jax.device_get(everything(*given, np.int32(steps)))


@hypothesis.given(
    seed=st.integers(0, 2**31),
    steps=st.integers(0, T),
    shared=st.booleans(),
    forbidden=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
)
@hypothesis.settings(max_examples=500)
def test_every_length_is_the_sum_over_its_paths(seed, steps, shared, forbidden):
    chain = drawn(seed, steps, shared=shared, forbidden=forbidden)
    got = ask(chain, steps)
    initial, transitions, emissions = chain
    each = np.broadcast_to(transitions, (T - 1, S, S))
    want = oracle_lattice.hmm(initial, each, emissions, steps)
    for name in ("log_likelihood", "nodes", "entropy"):
        np.testing.assert_allclose(got[name], want[name], **EXACT)
    pairs = want["pairs"].sum(0) if shared else want["pairs"]
    posterior = want["nodes"][0], pairs, want["nodes"]
    for mine, theirs in zip(got["gradient"], posterior, strict=True):
        np.testing.assert_allclose(mine, theirs, **EXACT)
    assert (got["nodes"][steps:] == 0).all()
    total = got["filter"].predictive.sum()
    np.testing.assert_allclose(total, want["log_likelihood"], **EXACT)
    for name in ("best", "sample"):
        _check_path(got[name], want, steps)
    np.testing.assert_allclose(got["best"].log_prob, want["best"], **EXACT)


def _check_path(path, want, steps):
    """A path with its own log-probability, or none if there is none."""
    assert (path.positions[steps:] == -1).all()
    positions = tuple(int(s) for s in path.positions[:steps])
    if want["log_likelihood"] == -np.inf:
        assert set(positions) <= {-1}
        assert path.log_prob == -np.inf
        return
    score = want["scores"][want["paths"].index(positions)]
    np.testing.assert_allclose(path.log_prob, score, **EXACT)
    assert score > -np.inf


def test_samples_are_drawn_by_their_probability():
    chain = drawn(1)
    want = oracle_lattice.hmm(*chain, 2)
    rngs = jax.random.split(jax.random.key(1), 20_000)
    with jax.enable_x64(True):
        given = tuple(map(jnp.asarray, chain))
        one = partial(lattice.hmm_sample, num_steps=2)
        paths = jax.vmap(one, (0, None, None, None))(rngs, *given)
        positions = np.asarray(paths.positions)[:, :2]
    shares = oracle_lattice.shares(want["scores"])
    for path, p in zip(want["paths"], shares, strict=True):
        share = (positions == path).all(axis=1).mean()
        assert abs(share - p) < 5 * (p * (1 - p) / len(rngs)) ** 0.5 + 1e-9


def test_the_filter_is_predicting_and_updating():
    initial, transitions, emissions = drawn(2)
    with jax.enable_x64(True):
        chain = tuple(map(jnp.asarray, (initial, transitions, emissions)))
        whole = lattice.hmm_filter(*chain)
        prior = chain[0]
        for t in range(T):
            posterior, predictive = lattice.hmm_update(prior, chain[2][t])
            np.testing.assert_allclose(prior, whole.prior[t], **EXACT)
            np.testing.assert_allclose(posterior, whole.posterior[t], **EXACT)
            np.testing.assert_allclose(predictive, whole.predictive[t], **EXACT)
            if t < T - 1:
                prior = lattice.hmm_predict(posterior, chain[1][t])


def test_predictions_are_ratios_of_likelihoods():
    """p(y_t | y_<t) as two sums over paths, which no recursion is needed for."""
    initial, transitions, emissions = drawn(3)
    got = ask((initial, transitions, emissions), T)["filter"]
    totals = [
        oracle_lattice.hmm(initial, transitions, emissions, t)["log_likelihood"]
        for t in range(T + 1)
    ]
    np.testing.assert_allclose(got.predictive, np.diff(totals), **EXACT)


def test_posteriors_are_differentiable():
    chain, along = drawn(4), draw(5, T, S)

    def slow(emissions):
        found = oracle_lattice.hmm(chain[0], chain[1], emissions, T)
        return float((found["nodes"] * along).sum())

    with jax.enable_x64(True):
        given = tuple(map(jnp.asarray, chain))
        got = jax.grad(
            lambda e: jnp.sum(lattice.hmm_posteriors(*given[:2], e) * along)
        )(given[2])
        got = np.asarray(got)
    np.testing.assert_allclose(
        got, oracles.numerical_gradient(slow, chain[2]), rtol=1e-5, atol=1e-8
    )


def test_long_chains_are_stable_in_float32():
    steps, places = 1000, 23
    rng = np.random.default_rng(6)
    chain = [
        np.log(rng.dirichlet(np.ones(places), shape)) for shape in ((), places, steps)
    ]
    run = jax.jit(jax.value_and_grad(lattice.hmm_log_likelihood, argnums=(1, 2)))
    got, gradient = run(*map(jnp.float32, chain))
    with jax.enable_x64(True):
        want, exact = run(*map(jnp.asarray, chain))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(gradient[0], exact[0], rtol=1e-4)
    np.testing.assert_allclose(gradient[1], exact[1], atol=1e-5)


# --- jumps --------------------------------------------------------------------


def slow_jumps(jumps, mask, lowest, clip, content):
    """Log-probabilities of the start, and of each move, as loops."""
    real = [s for s in range(len(mask)) if mask[s]]

    def row(place):
        scores = {}
        for s in real:
            entry = s - place - lowest
            if clip:
                entry = min(max(entry, 0), len(jumps) - 1)
            if 0 <= entry < len(jumps):
                scores[s] = jumps[entry] + content[s]
        out = np.full(len(mask), -np.inf)
        total = oracle_lattice.log_total(list(scores.values()))
        for s, score in scores.items():
            out[s] = score - total
        return out

    return row(real[0] - 1), np.array([row(s) for s in range(len(mask))])


TABLES = {  # name -> jumps, lowest, clip
    "first order": (draw(7, 5), -2, True),
    "monotone": (draw(8, 2), 0, False),
    "diagonal": (np.zeros(1), 1, False),
    "a forbidden jump": (np.array([0.3, -np.inf, 0.1]), 0, False),
}


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("table", TABLES)
def test_jumps_are_normalised_over_real_positions(table, padding):
    jumps, lowest, clip = TABLES[table]
    mask = np.arange(7) >= padding
    mask[6] = False
    content = draw(9, 7)
    want = slow_jumps(jumps, mask, lowest, clip, content)
    with jax.enable_x64(True):
        arguments = jnp.asarray(jumps), jnp.asarray(mask)
        options = {"lowest": lowest, "clip": clip, "content": jnp.asarray(content)}
        start = lattice.start_log_probs(*arguments, **options)
        moves = lattice.jump_log_probs(*arguments, **options)
        start, moves = np.asarray(start), np.asarray(moves)
    np.testing.assert_allclose(start, want[0], **EXACT)
    np.testing.assert_allclose(moves, want[1], **EXACT)


def test_a_monotone_cursor_never_goes_back():
    """Exact hard monotonic attention: only paths that stay or move on have weight."""
    mask, jumps = jnp.ones(S, bool), jnp.array([0.2, -0.4])
    start = lattice.start_log_probs(jumps, mask, lowest=0)
    moves = lattice.jump_log_probs(jumps, mask, lowest=0)
    # It starts before the first position, and may not stay there.
    assert jnp.exp(start).tolist() == [1, 0, 0]
    sample = partial(lattice.hmm_sample, emissions=jnp.asarray(draw(10, T, S)))
    rngs = jax.random.split(jax.random.key(0), 50)
    paths = jax.vmap(lambda rng: sample(rng, start, moves))(rngs).positions
    assert set(np.diff(paths, axis=1).ravel()) == {0, 1}


def test_the_diagonal_is_a_cursor_without_a_choice():
    mask = jnp.ones(T, bool)
    options = {"lowest": 1, "clip": False}
    start = lattice.start_log_probs(jnp.zeros(1), mask, **options)
    moves = lattice.jump_log_probs(jnp.zeros(1), mask, **options)
    emissions = jnp.float32(draw(11, T, T))
    got = lattice.hmm_posteriors(start, moves, emissions)
    want = [windows.diagonal(jnp.float32(t), mask) for t in range(T)]
    np.testing.assert_allclose(got, want, atol=1e-6)
    total = lattice.hmm_log_likelihood(start, moves, emissions)
    np.testing.assert_allclose(total, jnp.trace(emissions), rtol=1e-6)
    assert lattice.hmm_entropy(start, moves, emissions) == 0


def test_no_step_has_probability_one():
    chain = jnp.zeros(S), jnp.zeros((S, S)), jnp.zeros((0, S))
    assert lattice.hmm_log_likelihood(*chain) == 0
    assert lattice.hmm_posteriors(*chain).shape == (0, S)
    assert lattice.hmm_filter(*chain).predictive.shape == (0,)
    assert lattice.hmm_entropy(*chain) == 0
    assert lattice.hmm_best_path(*chain).positions.shape == (0,)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_is_summed_in_float32(dtype):
    half = [jnp.asarray(x, dtype) for x in drawn(7)]
    got = lattice.hmm_log_likelihood(*half)
    want = oracle_lattice.hmm(*map(np.float64, half), T)["log_likelihood"]
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_without_a_position_there_is_no_path():
    chain = jnp.zeros(0), jnp.zeros((0, 0)), jnp.zeros((T, 0))
    assert lattice.hmm_log_likelihood(*chain) == -jnp.inf
    assert lattice.hmm_posteriors(*chain).shape == (T, 0)
    assert lattice.hmm_entropy(*chain) == 0
    for path in (
        lattice.hmm_best_path(*chain),
        lattice.hmm_sample(jax.random.key(0), *chain),
    ):
        assert path.positions.tolist() == [-1] * T
        assert path.log_prob == -jnp.inf
    with jax.enable_x64(True):
        assert lattice.hmm_best_path(*chain).positions.dtype == jnp.int32


ZEROS = jnp.zeros(S), jnp.zeros((S, S)), jnp.zeros((T, S))
ERRORS = {
    r"transitions: expected shape \[S=3, S=3\] or \[T-1=4, S=3, S=3\], got \[5, 3, 3": (
        lambda: lattice.hmm_log_likelihood(ZEROS[0], jnp.zeros((T, S, S)), ZEROS[2])
    ),
    r"emissions: expected shape \[T, S=3\], got \[5, 2\]": (
        lambda: lattice.hmm_posteriors(*ZEROS[:2], jnp.zeros((T, 2)))
    ),
    r"jumps: expected at least one score, got shape \[0\]": (
        lambda: lattice.jump_log_probs(jnp.zeros(0), jnp.ones(S, bool), lowest=0)
    ),
    r"num_steps: expected a number from 0 to 5, got 6 \(": (
        lambda: lattice.hmm_sample(jax.random.key(0), *ZEROS, num_steps=6)
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_wrong_arguments_are_named(message):
    with pytest.raises(ValueError, match="^" + message):
        ERRORS[message]()


def test_a_number_of_steps_that_is_not_known_gives_nan():
    run = jax.jit(lattice.hmm_log_likelihood)
    assert jnp.isnan(run(*ZEROS, num_steps=6))
    assert jnp.isfinite(run(*ZEROS, num_steps=4))


@pytest.mark.parametrize("step", [0, 2])
def test_nan_in_a_real_step_comes_out(step):
    chain = *ZEROS[:2], ZEROS[2].at[step, 1].set(jnp.nan)
    assert jnp.isnan(lattice.hmm_log_likelihood(*chain))
    assert jnp.isnan(lattice.hmm_filter(*chain).predictive[step:]).all()
    assert jnp.isnan(lattice.hmm_entropy(*chain))


def test_nothing_inside_is_nan():
    """Eagerly, under `jax_debug_nans`, where no path is possible."""
    with jax.debug_nans(True):
        none = jnp.full(S, -jnp.inf), ZEROS[1], ZEROS[2]
        run = jax.value_and_grad(lattice.hmm_log_likelihood, argnums=(0, 1, 2))
        got, gradient = run(*none)
    assert got == -jnp.inf
    assert not any(g.any() for g in gradient)
