"""Beam search against exhaustive search, and against a plain one with lists."""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.decode import beam_search, greedy
from attnjax.decode.selection import top_k
from tests.decode.cases import (
    BOS,
    EOS,
    B,
    D,
    S,
    T,
    V,
    assert_same,
    decode_table,
    decoder,
    initial_carry,
    make_model,
    sequences,
    step,
)
from tests.oracle_decode import Search, every_hypothesis, plain_beam

pytestmark = pytest.mark.versions

OPTIONS = {  # name -> fields of `Search`; "prefix" stands for the row's prefix
    "free": {},
    "coverage": {"beta": 0.7},
    "no repeated bigram": {"no_repeat_ngram_size": 2},
    "prefix": {"prefix": True},
    "everything": {"beta": 0.7, "no_repeat_ngram_size": 2, "prefix": True},
}
each_option = pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS.keys())
ALPHAS = (0.0, 0.6, 1.0, 2.5)


def searches(model, option, **more):
    """The arguments of the search in each row."""
    pairs = zip(model.prefix.tolist(), model.prefix_lengths, strict=True)
    prefixes = [tuple(ids[:n]) if "prefix" in option else () for ids, n in pairs]
    return [Search(**(option | more | {"prefix": prefix})) for prefix in prefixes]


def options_of(model, option, max_decode_length=T, **more):
    """The same, as arguments of the decoders."""
    search, vocab = Search(**option | more), len(model.embed)
    options = {
        # An array is traced, so that another value does not recompile.
        "max_length": np.full(B, search.max_length),
        "max_decode_length": max_decode_length,
        "min_length": search.min_length,
        "no_repeat_ngram_size": search.no_repeat_ngram_size,
        "suppress_tokens": tuple(set(range(vocab)) - {EOS, *search.words}),
    }
    if "prefix" in option:
        options |= {"prefix": model.prefix, "prefix_lengths": model.prefix_lengths}
    return options


def run_search(model, option, K, n_best=None, **more):
    options = options_of(model, option, **more) | {"n_best": n_best}
    alpha, beta = more.get("alpha", 0.0), option.get("beta", 0.0)
    options["length_penalty"] = np.float32(alpha)
    if beta:
        options |= {"coverage_penalty": np.float32(beta)}
        options |= {"source_mask": model.mask}
    return decoder(beam_search, beam_size=K)(model, **options)


def assert_found(found, row, wanted):
    """Checks one row against the expected hypotheses, then empty slots."""
    free = found.scores.shape[1] - len(wanted)
    assert sequences(found)[row] == [x.tokens for x in wanted] + [[]] * free
    for name in ("score", "log_prob"):
        want = [getattr(x, name) for x in wanted] + [-np.inf] * free
        np.testing.assert_allclose(getattr(found, name + "s")[row], want, rtol=1e-5)


LENGTHS = [(0, 5), (3, 5), (4, 4), (0, 1)]  # shortest, longest
MOST = ("free", "everything")


@pytest.mark.parametrize(
    ("name", "lengths"),
    [(x, y) for x in OPTIONS for y in LENGTHS if x in MOST or y == (0, 5)],
)
def test_a_large_beam_is_exhaustive_search(name, lengths):
    # There are 31 sequences and never more than 24 candidates: a beam of 31 drops none.
    model, option = make_model(21, vocab=31), OPTIONS[name]
    for alpha in ALPHAS:
        more = {"min_length": lengths[0], "max_length": lengths[1], "alpha": alpha}
        found = run_search(model, option, 31, max_decode_length=5, **more)
        for row, wanted in enumerate(searches(model, option, **more)):
            assert_found(found, row, every_hypothesis(model, row, wanted))


SOME = {"max_length": T, "min_length": 2, "words": (4, 5, 6, 7, 8, 9)}


@pytest.mark.parametrize(
    ("name", "K"), [(x, K) for x in OPTIONS for K in (2, 5) if x in MOST or K == 5]
)
def test_beam_search_matches_the_plain_one(name, K):
    for seed, alpha in itertools.product(range(3), ALPHAS):
        model, more = make_model(seed), SOME | {"alpha": alpha}
        found = run_search(model, OPTIONS[name], K, **more)
        for row, wanted in enumerate(searches(model, OPTIONS[name], **more)):
            assert_found(found, row, plain_beam(model, row, wanted, K)[:K])


@each_option
def test_greedy_and_a_beam_of_one_match_the_plain_beam_of_one(option):
    option = {k: v for k, v in option.items() if k != "beta"}
    for seed in range(5):
        model = make_model(seed)
        found = decoder(greedy)(model, **options_of(model, option, **SOME))
        for row, wanted in enumerate(searches(model, option, **SOME)):
            (best,) = plain_beam(model, row, wanted, 1)
            assert_found(found, row, [best])
        for alpha in (0.0, 1.0):
            one = run_search(model, option, 1, alpha=alpha, **SOME)
            assert_same(found, one._replace(scores=one.log_probs))


@pytest.mark.parametrize(("name", "n"), [("free", 3), ("everything", 1)])
def test_a_smaller_n_best_gives_the_first_hypotheses(name, n):
    for seed, alpha in itertools.product(range(3), ALPHAS):
        more = SOME | {"alpha": alpha}
        many = run_search(make_model(seed), OPTIONS[name], 5, **more)
        fewer = run_search(make_model(seed), OPTIONS[name], 5, n_best=n, **more)
        assert_same(jax.tree.map(lambda x: x[:, :n], many), fewer)


# Cases computed by hand


def table_of(rows):
    """Returns log-probabilities [V, V] from {last: {next: probability}}."""
    table = np.full((V, V), -np.inf)
    for last, following in rows.items():
        for token, p in following.items():
            table[last, token] = np.log(p)
    return table


pair = decoder(beam_search, beam_size=2, n_best=1)


def test_a_longer_hypothesis_can_overtake_one_that_finished_early():
    # [EOS] scores log(0.6) / 1 = -0.51; seven tokens, certain after the
    # first, score log(0.4) / ((5 + 7) / 6)^2 = -0.23.
    long = [4, 5, 6, 7, 8, 9, EOS]
    certain = {a: {b: 1.0} for a, b in itertools.pairwise(long)}
    table = table_of({BOS: {EOS: 0.6, 4: 0.4}} | certain)
    for alpha, y, want in [(2.0, long, np.log(0.4) / 4), (0.0, [EOS], np.log(0.6))]:
        found = decode_table(
            pair, table, length_penalty=np.float32(alpha), max_length=7
        )
        assert sequences(found) == [[y]]
        np.testing.assert_allclose(found.scores, [[want]], rtol=1e-6)


def count_steps(table, attention, **options):
    """Searches one row; returns the hypotheses and the number of steps.

    `attention` maps an id to the weights [2] of the step that follows it.
    """
    calls = []
    weights = jnp.array([attention.get(v, (0.5, 0.5)) for v in range(V)])

    def counted(model, carry, token):
        jax.debug.callback(lambda: calls.append(None))  # once for the whole beam
        return carry, jnp.asarray(table, jnp.float32)[token], weights[token]

    found = pair(
        make_model(0, batch=1), carry=(), step=counted, max_decode_length=7, **options
    )
    jax.block_until_ready(found)
    jax.effects_barrier()
    return found, len(calls)


@pytest.mark.parametrize(("alpha", "limit", "steps"), [(0, 7, 1), (2, 2, 1), (2, 7, 7)])
def test_search_stops_when_no_hypothesis_can_overtake(alpha, limit, steps):
    # After one step -0.51 is finished and -0.92 is not. Without a penalty -0.92 can
    # only fall; by length 2 its score can reach -0.92 / (7/6)^2 = -0.67, and by length
    # 7 -0.92 / 2^2 = -0.23. Only the last case has to search to the end.
    table = table_of({BOS: {EOS: 0.6, 4: 0.4}, 4: {4: 1.0}})
    limits = {"max_length": np.array([limit]), "length_penalty": np.float32(alpha)}
    assert count_steps(table, {}, **limits)[1] == steps


@pytest.mark.parametrize(
    ("beta", "mask", "y", "score", "steps"),
    [
        (0.0, (1, 1), [EOS], np.log(0.6), 1),
        (0.1, (1, 1), [EOS], np.log(0.6) + 0.1 * np.log(0.9 * 0.1), 1),
        (1.0, (1, 1), [4, EOS], np.log(0.4), 2),
        (1.0, (1, 0), [EOS], np.log(0.6) + np.log(0.9), 1),
    ],
)
def test_a_hypothesis_that_covers_the_source_can_overtake(beta, mask, y, score, steps):
    # The coverage of [EOS] is (0.9, 0.1), that of [4, EOS] is (1.0, 1.0). The search
    # continues while the bound of [4], -0.92 + 0, exceeds the score of [EOS].
    table = table_of({BOS: {EOS: 0.6, 4: 0.4}, 4: {EOS: 1.0}})
    found, taken = count_steps(
        table,
        {BOS: (0.9, 0.1), 4: (0.1, 0.9)},
        max_length=7,
        coverage_penalty=np.float32(beta),
        source_mask=np.array([mask], bool),
    )
    assert sequences(found) == [[y]]
    np.testing.assert_allclose(found.scores, [[score]], rtol=1e-6)
    assert taken == steps


def test_a_position_without_coverage_keeps_scores_finite():
    # One hypothesis leaves one position uncovered, the other two: the first wins.
    table = table_of({BOS: {4: 0.1, 6: 0.9}, 4: {EOS: 1.0}, 6: {EOS: 1.0}})
    attention = {BOS: (0.0, 0.0), 4: (1.0, 0.0), 6: (0.0, 0.0)}
    options = {"max_length": 7, "coverage_penalty": np.float32(1.0)}
    mask = np.ones((1, 2), bool)
    found, _ = count_steps(table, attention, source_mask=mask, **options)
    assert sequences(found) == [[[4, EOS]]]
    want = np.log(0.1) + np.log(np.finfo(np.float32).tiny)
    np.testing.assert_allclose(found.scores, [[want]], rtol=1e-6)


# Cost of a search


def loop_of(**options):
    """Shapes of the carry of the search's while loop, and its number of equations."""
    model = make_model(0)
    run = functools.partial(
        beam_search, functools.partial(step, model), initial_carry()
    )
    sizes = {"batch_size": B, "beam_size": 2, "max_length": T, "bos": BOS, "eos": EOS}
    traced = jax.make_jaxpr(lambda: run(**sizes, **options))().jaxpr
    (loop,) = [e for e in traced.eqns if e.primitive.name == "while"]
    shapes = collections.Counter(x.aval.shape for x in loop.outvars)
    return shapes, len(loop.params["body_jaxpr"].jaxpr.eqns)


def test_an_option_that_is_off_adds_no_operation():
    model = make_model(0)
    shapes, equations = loop_of()
    off = {
        "no_repeat_ngram_size": 0,
        "coverage_penalty": 0.0,
        "prefix": None,
        "n_best": 2,
    }
    assert loop_of(**off, source_mask=model.mask) == (shapes, equations)
    coverage = {"coverage_penalty": 0.5, "source_mask": model.mask}
    for options, more in (
        ({"no_repeat_ngram_size": 2}, {(B, 2, T): 1}),
        (coverage, {(B, 2, S): 1}),
        ({"prefix": model.prefix}, {}),
    ):
        with_shapes, with_equations = loop_of(**options)
        assert with_shapes - shapes == more
        assert with_equations > equations


def test_a_step_gets_no_beam_axis_and_one_memory():
    seen = []

    def spy(model, carry, token):
        seen.append((model.keys.shape, carry["h"].shape, token.shape))
        return step(model, carry, token)

    decoder(beam_search, beam_size=5)(make_model(0), step=spy)
    assert set(seen) == {((B, S, D), (B, D), (B,))}


@pytest.mark.parametrize("size", [5, 63, 64, 65, 317, 331, 1021])
@pytest.mark.parametrize("k", [1, 5])
def test_top_k_matches_lax_top_k(size, k):
    random = np.random.default_rng(size)
    x = random.integers(-3, 7, size=(3, 2, size)).astype(np.float32)  # many ties
    x[0, 0] = -np.inf
    x[0, 1, :-1] = -np.inf
    for rows in (x, x + random.normal(size=x.shape).astype(np.float32)):
        for got, want in zip(top_k(rows, k), jax.lax.top_k(rows, k), strict=True):
            np.testing.assert_array_equal(got, want)
