"""Sampling: laws of logits processors, exact distributions, then frequencies."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import masked_softmax
from attnjax.decode import greedy, keep_min_p, keep_top_k, keep_top_p
from attnjax.decode.logits_processors import warp_logits
from tests import oracle_decode as oracle
from tests.conftest import TOLERANCE
from tests.decode.cases import (
    BOS,
    DECODERS,
    EOS,
    UNK,
    B,
    V,
    assert_same,
    decoder,
    make_model,
    prefixes,
    sample_with_key,
    sequences,
)

PROCESSORS = {  # name -> (ours, the oracle's, values, the value that keeps all ids)
    "top_k": (keep_top_k, oracle.top_k, (1, 2, 5, 10), V),
    "top_p": (keep_top_p, oracle.top_p, (1e-6, 0.3, 0.77, 0.999), 1.0),
    "min_p": (keep_min_p, oracle.min_p, (1e-3, 0.2, 0.5, 1.0), 0.0),
}
each_processor = pytest.mark.parametrize("name", PROCESSORS)


def logits_of(seed):
    return np.random.default_rng(seed).normal(scale=2, size=(B, V)).astype(np.float32)


def distributions(logits):
    """Probabilities of rows of logits; zeros where all are -inf."""
    return np.asarray(masked_softmax(logits, logits > -jnp.inf))


def traced(value):
    return jnp.asarray(value, jnp.int32 if isinstance(value, int) else jnp.float32)


# Laws of logits processors


@each_processor
@pytest.mark.parametrize("seed", range(3))
def test_kept_ids_have_the_probabilities_of_the_oracle(name, seed):
    ours, slow, values, _ = PROCESSORS[name]
    logits = logits_of(seed)
    for value in values:
        got = distributions(ours(logits, value))
        want = [slow(oracle.softmax(row), value) for row in logits]
        np.testing.assert_allclose(got, want, rtol=TOLERANCE["float32"])


@each_processor
def test_a_traced_value_gives_the_result_of_a_static_one(name):
    ours, _, values, everything = PROCESSORS[name]
    logits, run = logits_of(3), jax.jit(ours)
    for value in (*values, everything):
        np.testing.assert_array_equal(run(logits, traced(value)), ours(logits, value))
    assert run._cache_size() == 1


@each_processor
def test_kept_logits_do_not_change_and_all_ids_may_be_kept(name):
    ours, _, values, everything = PROCESSORS[name]
    logits = logits_of(4)
    logits[0, 3:] = -np.inf
    np.testing.assert_array_equal(ours(logits, everything), logits)
    got = np.asarray(ours(logits, values[1]))
    assert ((got == logits) | (got == -np.inf)).all()
    assert (got.max(axis=1) == logits.max(axis=1)).all()


@each_processor
def test_rows_of_minus_infinity_stay_so_without_nan(name):
    ours, _, values, everything = PROCESSORS[name]
    logits = jnp.full((B, V), -jnp.inf)
    with jax.debug_nans(True):
        for value in (*values, everything):
            assert (ours(logits, value) == -jnp.inf).all()
            assert (ours(logits, traced(value)) == -jnp.inf).all()


@each_processor
def test_any_leading_axes_and_dtypes_are_accepted(name):
    ours, _, values, _ = PROCESSORS[name]
    logits = logits_of(5)
    want = ours(logits, values[2])
    np.testing.assert_array_equal(ours(logits[0], values[2]), want[0])
    both = jnp.stack([logits, logits], axis=1)
    np.testing.assert_array_equal(ours(both, values[2])[:, 1], want)
    assert ours(jnp.asarray(logits, jnp.bfloat16), values[2]).dtype == jnp.bfloat16


def test_of_equal_logits_those_with_the_smaller_id_are_kept():
    logits = jnp.array([1.0, 5.0, 5.0, 2.0, 5.0])
    for k in (2, traced(2)):
        kept = keep_top_k(logits, k) > -jnp.inf
        assert kept.tolist() == [False, True, True, False, False]
    assert (keep_top_p(jnp.zeros(5), 0.39) > -jnp.inf).tolist() == [True] * 2 + 3 * [
        False
    ]


def test_traced_values_are_clipped_to_their_range():
    logits = logits_of(6)
    for ours, low, least, high, most in (
        (keep_top_k, 0, 1, V + 3, V),
        (keep_top_p, -0.5, 1e-6, 1.5, 1.0),
        (keep_min_p, -0.5, 0.0, 1.5, 1.0),
    ):
        for value, bound in ((low, least), (high, most)):
            got = ours(logits, traced(value))
            np.testing.assert_array_equal(got, ours(logits, bound))


def test_temperature_top_k_top_p_and_min_p_apply_in_this_order():
    logits = logits_of(7)
    options = {"temperature": 1.7, "top_k": 7, "top_p": 0.8, "min_p": 0.3}
    got = distributions(warp_logits(logits, **options))
    want = [expected(row, **options) for row in logits]
    np.testing.assert_allclose(got, want, rtol=TOLERANCE["float32"])
    assert (
        len({(p > 0).sum() for p in want}) > 1
    )  # otherwise the order would not matter
    assert all((p > 0).sum() < 7 for p in want)


def expected(logits, *, temperature, top_k=V, top_p=1.0, min_p=0.0):
    p = oracle.softmax(np.asarray(logits, np.float64) / temperature)
    if top_k < V:
        p = oracle.top_k(p, top_k)
    if top_p < 1:
        p = oracle.top_p(p, top_p)
    return oracle.min_p(p, min_p)


# The distribution that `sample` draws from


SHAPES = {
    "temperature": {"temperature": 0.5},
    "top_k": {"temperature": 1.0, "top_k": 3},
    "all options": {"temperature": 1.7, "top_k": 7, "top_p": 0.9, "min_p": 0.05},
}


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_token_is_drawn_from_the_exact_distribution(shape, constrained):
    """The same key and the oracle's probabilities draw the same token."""
    model, rng = make_model(31), jax.random.key(5)
    options = {"max_length": 11, "min_length": 3, "suppress_tokens": (UNK,)} | shape
    rules = {"max_length": 11, "min_length": 3, "words": (4, 5, 6, 7, 8, 9, 10)}
    if constrained:
        options |= prefixes(model) | {"no_repeat_ngram_size": 1}
        rules |= {"no_repeat_ngram_size": 1}
    found = decoder(sample_with_key)(model, rng=rng, **options)
    for row, (y,) in enumerate(sequences(found)):
        n = model.prefix_lengths[row] if constrained else 0
        search = oracle.Search(prefix=tuple(model.prefix[row, :n].tolist()), **rules)
        log_probs, _ = oracle.teacher_force(model, row, y[:-1])
        for t in range(len(y)):
            allowed = oracle.continuations(y[:t], search)
            masked = np.full(V, -np.inf)
            masked[allowed] = log_probs[t, allowed]
            key = jax.random.fold_in(jax.random.fold_in(rng, row), t)
            p = jnp.asarray(expected(masked, **shape), jnp.float32)
            assert y[t] == jax.random.categorical(key, jnp.log(p))


@pytest.mark.parametrize("constrained", [False, True])
def test_sampling_from_the_most_likely_id_is_greedy(constrained):
    model = make_model(32)
    options = prefixes(model) | {"no_repeat_ngram_size": 2} if constrained else {}
    want = decoder(greedy)(model, **options)
    assert_same(decoder(sample_with_key, top_k=1)(model, **options), want)
    others = {"top_p": np.float32(0.0), "temperature": np.float32(2)}
    assert_same(decoder(sample_with_key, **others)(model, **options), want)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sample_frequencies_match_probabilities(temperature):
    N, words = 5003, (4, 6)
    table = np.log(np.random.default_rng(5).dirichlet(np.ones(V), size=V))

    def look_up(model, carry, token):
        return carry, jnp.asarray(table, jnp.float32)[token], jnp.zeros((N, 1))

    found = DECODERS["sample"](
        make_model(0),
        carry=(),
        step=look_up,
        batch_size=N,
        max_length=3,
        suppress_tokens=tuple(set(range(V)) - {EOS, *words}),
        temperature=temperature,
    )
    ys = [tuple(y) for (y,) in sequences(found)]
    outcomes = [(*y, EOS) for n in range(3) for y in itertools.product(words, repeat=n)]
    counted = []
    for y in outcomes:
        p = 1.0
        for i, (last, token) in enumerate(itertools.pairwise((BOS, *y))):
            allowed = [EOS, *words] if i < 2 else [EOS]
            mass = {v: np.exp(table[last, v] / temperature) for v in allowed}
            p *= mass[token] / sum(mass.values())
        counted.append(N * p)
    np.testing.assert_allclose(sum(counted), N)
    counts = np.array([ys.count(y) for y in outcomes])
    assert counts.sum() == N
    # Chi-square with 6 degrees of freedom: a correct sampler exceeds 38.3 for one
    # seed in 10^6, since P(x) = exp(-x/2) (1 + x/2 + x^2/8).
    assert ((counts - counted) ** 2 / counted).sum() < 38.3


def test_samples_differ_between_keys_and_vmap_over_them():
    model, decode = make_model(2), DECODERS["sample"]
    keys = jax.random.split(jax.random.key(0), 5)
    many = jax.jit(jax.vmap(lambda rng: decode(model, rng=rng)))(keys)
    for i, rng in enumerate(keys):
        assert_same(decode(model, rng=rng), jax.tree.map(lambda x, i=i: x[i], many))
    assert len({tuple(np.ravel(x)) for x in many.tokens}) == 5


def test_the_nucleus_is_the_one_of_exact_numbers():
    """Every division of 1 into tenths, and every p in tenths, by integers."""
    partitions = [
        parts
        for size in range(2, 7)
        for parts in itertools.combinations_with_replacement(range(1, 10), size)
        if sum(parts) == 10
    ]
    assert len(partitions) > 30
    for parts in partitions:
        shuffled = np.random.default_rng(len(parts)).permutation(parts)
        logits = jnp.log(jnp.asarray(shuffled, jnp.float32) / 10)
        for tenths in range(1, 10):
            sums = np.cumsum(sorted(parts, reverse=True))
            want = int(np.argmax(sums >= tenths)) + 1
            got = int((keep_top_p(logits, tenths / 10) > -np.inf).sum())
            assert got == want, (parts, tenths)


@pytest.mark.parametrize("temperature", [1e-38, 1e-45, 1e-30])
def test_the_smallest_temperature_is_the_argmax(temperature):
    logits = jnp.asarray(logits_of(6))
    options = {"top_k": None, "top_p": 1.0, "min_p": 0.0}
    for value in (temperature, jnp.float32(temperature)):
        got = distributions(warp_logits(logits, temperature=value, **options))
        np.testing.assert_array_equal(got.argmax(1), logits.argmax(1))
        np.testing.assert_array_equal(got.max(1), 1)


def test_an_infinite_temperature_is_uniform_over_what_is_allowed():
    logits = jnp.asarray(logits_of(7)).at[:, 2].set(-jnp.inf)
    options = {"top_k": None, "top_p": 1.0, "min_p": 0.0}
    for value in (float("inf"), jnp.float32("inf"), 1e38):
        got = distributions(warp_logits(logits, temperature=value, **options))
        assert not got[:, 2].any()
        np.testing.assert_allclose(np.delete(got, 2, 1), 1 / (V - 1), rtol=1e-6)
