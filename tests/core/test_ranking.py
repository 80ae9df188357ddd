"""Ranking memories: margins, comparisons by write time, the winner of the loop."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import ranking, weights
from tests import oracle_memory, oracles
from tests.core.cases import draw

S, D, V = 7, 5, 11


def random_story(seed):
    """A story of S facts, a question, U for both kinds of features, and tables of it.

    `U` is [D, 3V + 3]: words of the question, of found facts, of memories, and time.
    """
    rng = np.random.default_rng(seed)
    story = [list(rng.integers(1, V, rng.integers(1, 5))) for _ in range(S)]
    question, found = list(rng.integers(1, V, 3)), story[2:3]
    return story, question, found, draw(seed + 1, D, 3 * V + 3)


def features(story, question, found, U):
    """Scores [S] and the match with time [3], by our split into sums of rows."""
    tables = U.T  # a row a feature
    query = sum(tables[w] for w in question)
    query = query + sum(tables[V + w] for fact in found for w in fact)
    keys = np.array([sum(tables[2 * V + w] for w in fact) for fact in story])
    return keys @ query, tables[3 * V :] @ query


@pytest.mark.parametrize("time", [0, 2, 6, 7])
def test_preferences_are_the_papers_with_features_spelled_out(time):
    story, question, found, U = random_story(1)
    scores, tau = features(story, question, found, U)
    with jax.enable_x64(True):
        got = ranking.time_preferences(
            jnp.asarray(scores), jnp.asarray(tau), jnp.asarray(time)
        )
    want = [
        [
            oracle_memory.preference(U, question, found, story, time, i, j, V)
            for j in range(S)
        ]
        for i in range(S)
    ]
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("seed", range(12))
def test_the_winner_is_that_of_the_papers_loop(seed):
    story, question, found, U = random_story(seed)
    U[:, 3 * V :] *= 3  # so that time decides often
    scores, tau = features(story, question, found, U)
    time = seed % (S + 1)
    got = ranking.sequential_hardmax(
        jnp.float32(scores), time_scores=jnp.float32(tau), query_time=jnp.array(time)
    )
    want = oracle_memory.select(U, question, found, story, time, V, True)
    assert got.tolist() == np.eye(S)[want].tolist()


def test_newer_facts_win_if_being_older_counts_against():
    tau, options = jnp.array([0.0, 0.0, -1.0]), {"query_time": jnp.array(4)}
    win = functools.partial(ranking.sequential_hardmax, time_scores=tau, **options)
    assert win(jnp.zeros(4)).tolist() == [0, 0, 0, 1]
    assert win(jnp.array([0.0, 9.0, 0.0, 0.0])).tolist() == [0, 1, 0, 0]
    mask = jnp.array([True, True, True, False])
    assert win(jnp.zeros(4), mask).tolist() == [0, 0, 1, 0]
    # What is newer than the query can be refused, as "before" needs.
    tau = jnp.array([0.0, 5.0, -1.0])
    before = ranking.sequential_hardmax(
        jnp.zeros(5), time_scores=tau, query_time=jnp.array(2)
    )
    assert before.tolist() == [0, 0, 1, 0, 0]


scores_of_s = st.lists(
    st.floats(-1e3, 1e3, width=32), min_size=S, max_size=S
).map(np.float32)  # fmt: skip
WIN = jax.jit(ranking.sequential_hardmax)


@hypothesis.given(
    scores=scores_of_s, mask=st.lists(st.booleans(), min_size=S, max_size=S)
)
@hypothesis.settings(max_examples=40)
def test_without_time_the_winner_is_the_hardmax(scores, mask):
    got = WIN(
        scores,
        jnp.array(mask),
        time_scores=jnp.zeros(3),
        query_time=jnp.array(S),
    )
    want = weights.hardmax(jnp.asarray(scores), jnp.array(mask))
    assert got.tolist() == want.tolist()
    assert float(got.sum()) == any(mask)


def test_padding_changes_no_winner():
    scores, tau = draw(5, S), draw(6, 3)
    want = ranking.sequential_hardmax(
        jnp.float32(scores), time_scores=jnp.float32(tau), query_time=jnp.array(S)
    )
    longer = np.concatenate([scores, [1e6, 1e6]])
    got = ranking.sequential_hardmax(
        jnp.float32(longer),
        jnp.arange(S + 2) < S,
        time_scores=jnp.float32(tau),
        query_time=jnp.array(S + 2),
    )
    assert got.tolist() == [*want.tolist(), 0, 0]


def test_nothing_to_rank_has_no_winner():
    options = {"time_scores": jnp.ones(3), "query_time": jnp.array(0)}
    assert ranking.sequential_hardmax(jnp.ones(0), **options).shape == (0,)
    none = ranking.sequential_hardmax(jnp.ones(2), jnp.zeros(2, bool), **options)
    assert none.tolist() == [0, 0]


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_margins_are_the_definition_in_value_and_gradient(margin):
    right, wrong = draw(7, 3, S), draw(8, 3, S)
    with jax.enable_x64(True):
        got, slopes = jax.value_and_grad(
            lambda r, w: ranking.margin_ranking(r, w, margin=margin).sum(), (0, 1)
        )(jnp.asarray(right), jnp.asarray(wrong))

    def loop(right, wrong):
        pairs = zip(right.flat, wrong.flat, strict=True)
        return sum(oracle_memory.margin_ranking(r, w, margin) for r, w in pairs)

    np.testing.assert_allclose(got, loop(right, wrong), rtol=1e-12)
    slow = oracles.numerical_gradient(lambda x: loop(x, wrong), right)
    np.testing.assert_allclose(slopes[0], slow, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(slopes[1], -slow, rtol=1e-6, atol=1e-8)


def test_margins_are_wide():
    low = jnp.ones(2, "bfloat16")
    assert ranking.margin_ranking(low, low).dtype == jnp.float32
    assert ranking.margin_ranking(jnp.array(3e38), jnp.array(-3e38)) == 0


BAD = {
    "margin": (
        lambda: ranking.margin_ranking(jnp.ones(2), jnp.ones(2), margin=0.0),
        r"^margin: expected more than 0, got 0\.0 \(without one",
    ),
    "shapes": (
        lambda: ranking.margin_ranking(jnp.ones(2), jnp.ones(3)),
        r"^negative: expected shape \[2\], got \[3\]",
    ),
    "time": (
        lambda: ranking.time_preferences(jnp.ones(2), jnp.ones(4), jnp.array(0)),
        r"^time_scores: expected shape \[3\], got \[4\]",
    ),
    "batch": (
        lambda: WIN(jnp.ones((2, 3)), time_scores=jnp.ones(3), query_time=jnp.array(0)),
        r"^scores: expected shape \[S\], got \[2, 3\] \(a batch",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_told_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
