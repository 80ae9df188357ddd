"""Sentences of a story: word order, ages, empty slots, and slots that are skipped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import sentences
from tests import oracle_memory, oracles
from tests.core.cases import draw

V, D, T = 13, 5, 7
TABLE = draw(0, V, D)
STORY = [[3, 1, 2], [7, 7, 12, 4, 2, 9, 1], [5], []]
both_ways = pytest.mark.parametrize("few_words", [V, 0], ids=["counted", "gathered"])


def ids(story, length=T, left=0):
    """Word ids [S, length], padded on the right, or by `left` on the left too."""
    found = np.zeros((len(story), length), np.int32)
    for row, words in zip(found, story, strict=True):
        row[left : left + len(words)] = words
    return found


@pytest.mark.parametrize("J", [1, 2, 5, 7])
def test_position_encoding_is_that_of_the_authors_code(J):
    mask = np.arange(T) < J
    with jax.enable_x64(True):
        got = sentences.position_encoding(jnp.asarray(mask), D, dtype="float64")
        got = np.asarray(got)
    with jax.enable_x64(True):
        options = {"length": J, "dtype": "float64"}
        whole = sentences.position_encoding(jnp.ones(T, bool), D, **options)
        np.testing.assert_allclose(whole[:J], got[:J], rtol=1e-12, atol=1e-15)
    want = oracle_memory.position_encoding(J, D)
    np.testing.assert_allclose(got[:J], want, rtol=1e-12, atol=1e-15)
    assert not got[J:].any()
    # A bag of words is the same sum without order.
    np.testing.assert_allclose(got[:J].mean(axis=0), np.ones(D), rtol=1e-12)


def test_paper_and_code_differ_by_a_factor_and_small_terms():
    """Known, and stated in the docstring: what is printed is half of the code's."""
    J, wide = 400, 500
    printed = oracle_memory.printed_position_encoding(J, wide)
    code = oracle_memory.position_encoding(J, wide)
    assert abs(2 * printed - code).max() < 2 / J + 2 / wide + 0.01
    assert abs(2 * oracle_memory.printed_position_encoding(3, 4)).max() > 1.6


@both_ways
@pytest.mark.parametrize("encode_order", [True, False])
def test_a_sentence_is_the_papers_sum_in_value_and_gradient(
    encode_order, few_words, monkeypatch
):
    monkeypatch.setattr(sentences, "FEW_WORDS", few_words)
    along = np.cos(np.arange(len(STORY) * D)).reshape(len(STORY), D)

    def ours(table):
        return sentences.sum_words(table, ids(STORY), encode_order=encode_order)

    def loop(table):
        return np.array(
            [oracle_memory.embed_sentence(table, s, encode_order) for s in STORY]
        )

    with jax.enable_x64(True):
        table = jnp.asarray(TABLE)
        np.testing.assert_allclose(ours(table), loop(TABLE), rtol=1e-12, atol=1e-14)
        got = jax.grad(lambda table: jnp.sum(ours(table) * along))(table)
    slow = oracles.numerical_gradient(lambda x: float((loop(x) * along).sum()), TABLE)
    np.testing.assert_allclose(got, slow, rtol=1e-6, atol=1e-8)


@both_ways
def test_the_null_word_is_nothing_whatever_its_row_holds(few_words, monkeypatch):
    monkeypatch.setattr(sentences, "FEW_WORDS", few_words)
    poisoned = jnp.float32(TABLE).at[0].set(1e6)
    given = jnp.asarray(ids(STORY))

    def total(table):
        return jnp.sum(sentences.sum_words(table, given, encode_order=True))

    clean = jnp.float32(TABLE).at[0].set(0)
    np.testing.assert_array_equal(total(poisoned), total(clean))
    assert not jax.grad(total)(poisoned)[0].any()


@both_ways
def test_padding_anywhere_changes_nothing(few_words, monkeypatch):
    monkeypatch.setattr(sentences, "FEW_WORDS", few_words)
    table = jnp.float32(TABLE)
    want = sentences.sum_words(table, jnp.asarray(ids(STORY)), encode_order=True)
    for length, left in ((11, 0), (11, 3)):
        padded = jnp.asarray(ids(STORY, length, left))
        got = sentences.sum_words(table, padded, encode_order=True)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_two_ways_agree_and_keep_the_dtype(monkeypatch):
    given = jnp.asarray(ids(STORY))
    for dtype in ("float32", "bfloat16"):
        table = jnp.asarray(TABLE, dtype)
        found = []
        for few in (V, 0):
            monkeypatch.setattr(sentences, "FEW_WORDS", few)
            found.append(sentences.sum_words(table, given, encode_order=True))
        assert found[0].dtype == found[1].dtype == dtype
        tolerance = {"float32": 1e-5, "bfloat16": 5e-2}[dtype]
        one, two = (np.asarray(x, np.float64) for x in found)
        np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance)


def test_ages_count_back_from_the_question_wherever_padding_is():
    mask = jnp.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1]]) > 0
    want = [[2, 1, 0, -1, -1], [-1, -1, 2, 1, 0], [2, -1, 1, -1, 0]]
    assert sentences.fact_ages(mask).tolist() == want
    assert sentences.fact_ages(jnp.zeros((2, 0), bool)).shape == (2, 0)
    assert oracle_memory.ages(["a", "b", "c"]) == [2, 1, 0]


EMPTY = jax.jit(sentences.with_empty_slots, static_argnames="rate")


@pytest.mark.parametrize("n", [0, 1, 5, 10, 11])
def test_empty_slots_shift_ages_and_keep_their_order(n):
    S, rate = 11, 0.3
    ages = jnp.array([n - 1 - i if i < n else -1 for i in range(S)], jnp.int32)
    most = int(np.ceil(rate * n))
    largest, seen = set(), set()
    for rng in jax.random.split(jax.random.key(n), 200):
        got = np.asarray(EMPTY(rng, ages, rate=rate))
        assert (got[n:] == -1).all()
        found = got[:n]
        assert (np.diff(found) < 0).all()
        if n:
            assert 0 <= found.min() <= found.max() <= n - 1 + most
            largest.add(int(found.max()) - (n - 1))
            seen.add(tuple(found))
    if n:
        # Every number of slots is drawn, and none more (after the newest fact too).
        assert largest == set(range(most + 1))
        assert any(found[-1] > 0 for found in seen)


def test_empty_slots_are_uniform():
    """One fact and one slot at most: age 1 is the slot between fact and question."""
    ages = jnp.array([0, -1], jnp.int32)
    rngs = jax.random.split(jax.random.key(1), 4_000)
    got = jax.vmap(lambda rng: EMPTY(rng, ages, rate=0.9))(rngs)[:, 0]
    # A slot half of the time, and then half of the time after the fact; 5 deviations.
    assert abs(float((got == 1).mean()) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4_000)


def test_without_empty_slots_ages_stay():
    ages = jnp.array([1, 0, -1], jnp.int32)
    assert EMPTY(jax.random.key(0), ages, rate=0.0).tolist() == [1, 0, -1]
    with pytest.raises(ValueError, match=r"^rate: expected a share in \[0, 1\), got 1"):
        sentences.with_empty_slots(jax.random.key(0), ages, rate=1.0)


@pytest.mark.parametrize("filled", [0, 1, 5, 6, 23], ids="{} of 23".format)
def test_rows_that_are_skipped_give_the_same_numbers(filled, rng):
    S = 23
    mask = jax.random.permutation(rng, jnp.arange(S) < filled)
    x = jnp.float32(draw(3, S, T))
    matrix = jnp.float32(draw(4, T, D))

    def run(matrix, x):
        def rows(x):
            return {"y": jnp.tanh(x) @ matrix, "z": x.sum(-1)}

        return sentences.over_filled(rows, mask, x)

    def plain(matrix, x):
        y, z = jnp.tanh(x) @ matrix, x.sum(-1)
        return {"y": jnp.where(mask[:, None], y, 0), "z": jnp.where(mask, z, 0)}

    def objective(function, *given):
        found = function(*given)
        return jnp.sum(jnp.sin(found["y"])) + jnp.sum(found["z"] ** 2)

    got, want = jax.jit(run)(matrix, x), plain(matrix, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), got, want)
    slopes = (
        jax.jit(jax.grad(lambda *g, f=f: objective(f, *g), (0, 1)))(matrix, x)
        for f in (run, plain)
    )
    for one, two in zip(*slopes, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_bad_arguments_are_told_what_to_do():
    with pytest.raises(ValueError, match=r"^width: expected at least 1, got 0"):
        sentences.position_encoding(jnp.ones(3, bool), 0)
    with pytest.raises(ValueError, match=r"^length: expected at least 1, got 0"):
        sentences.position_encoding(jnp.ones(3, bool), 2, length=0)
    with pytest.raises(TypeError, match=r"^mask: expected a boolean mask"):
        sentences.position_encoding(jnp.ones(3), 2)
    with pytest.raises(TypeError, match=r"^sentences: expected int values, got float"):
        sentences.sum_words(jnp.ones((3, 2)), jnp.ones(2), encode_order=True)
    with pytest.raises(ValueError, match=r"^length: expected at least 1, got 0"):
        sentences.sum_words(
            jnp.ones((3, 2)), jnp.ones(2, int), encode_order=True, length=0
        )
    with pytest.raises(ValueError, match=r"^table: expected shape \[V, D\], got \[3\]"):
        sentences.sum_words(jnp.ones(3), jnp.ones(2, int), encode_order=True)
