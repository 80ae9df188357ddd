"""Biases: laws of what is added for where query and key stand, then the papers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import biases
from attnjax.core.attend import attend_heads
from tests import oracle_positions as oracles
from tests.core.cases import draw

B, T, S, H, K = 2, 5, 7, 3, 32
QUERIES = np.array([[0, 3, 1, 40, 7], [4, 0, 19, 2, 300]])
KEYS = np.array([[0, 1, 2, 3, 20, 5, 200], [9, 8, 7, 6, 300, 4, 3]])
SLOPES, TABLE = draw(0, H) ** 2, draw(1, K, H)


def relative(bidirectional):
    def bias(query_positions, key_positions):
        buckets = biases.relative_buckets(
            query_positions, key_positions, bidirectional=bidirectional
        )
        return biases.relative_bias(jnp.asarray(TABLE, "float32"), buckets)

    return bias


# query positions [*B, T], key positions [*B, S] -> bias [*B, H, T, S]
BIASES = {
    "alibi": lambda q, k: biases.alibi(q, k, jnp.asarray(SLOPES, "float32")),
    "relative": relative(True),
    "relative-past": relative(False),
}
each = pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)


# --- laws ---------------------------------------------------------------------


@each
def test_the_shape_is_that_of_scores(bias):
    assert bias(QUERIES, KEYS).shape == (B, H, T, S)
    heads = jnp.asarray(draw(2, B, S, H, 2), "float32")
    read = attend_heads(heads[:, :T], heads, heads, bias=bias(QUERIES, KEYS))
    assert read.weights.shape == (B, H, T, S)


@each
def test_the_distance_decides(bias):
    np.testing.assert_array_equal(bias(QUERIES + 11, KEYS + 11), bias(QUERIES, KEYS))


@each
def test_a_pair_is_biased_by_itself(bias):
    """Chunks, permutations and vmap follow."""
    whole = bias(QUERIES, KEYS)
    for b, t, s in np.ndindex(B, T, S):
        alone = bias(QUERIES[b, t, None], KEYS[b, s, None])
        np.testing.assert_allclose(alone[:, 0, 0], whole[b, :, t, s], rtol=1e-6)
    np.testing.assert_array_equal(jax.vmap(bias)(QUERIES, KEYS), whole)


@each
def test_new_positions_do_not_recompile(bias):
    jitted = jax.jit(bias)
    np.testing.assert_allclose(jitted(QUERIES, KEYS), bias(QUERIES, KEYS), rtol=1e-6)
    jitted(QUERIES + 1, KEYS)
    assert jitted._cache_size() == 1


# --- ALiBi --------------------------------------------------------------------


@pytest.mark.parametrize("heads", range(1, 18))
def test_slopes_are_the_authors(heads):
    with jax.enable_x64(True):
        got = biases.alibi_slopes(heads, dtype="float64")
    np.testing.assert_allclose(got, oracles.alibi_slopes(heads), rtol=1e-14)


def test_slopes_of_eight_heads_are_the_papers():
    """Press 2022, section 3: 1/2, 1/4, ..., 1/256."""
    np.testing.assert_array_equal(biases.alibi_slopes(8), 0.5 ** np.arange(1, 9))


def test_alibi_is_the_papers():
    with jax.enable_x64(True):
        got = biases.alibi(QUERIES, KEYS, jnp.asarray(SLOPES))
    for b in range(B):
        want = oracles.alibi(QUERIES[b], KEYS[b], SLOPES)
        np.testing.assert_allclose(got[b], want, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_slopes_are_multiplied_wide(dtype):
    """A distance of 1001 would be rounded before it is scaled."""
    slopes = jnp.asarray(SLOPES, dtype)
    got = biases.alibi(QUERIES + 1001, KEYS, slopes)
    assert got.dtype == dtype
    in_float32 = biases.alibi(QUERIES + 1001, KEYS, slopes.astype("float32"))
    np.testing.assert_array_equal(got, in_float32.astype(dtype))


def test_slopes_learn():
    got = jax.grad(lambda m: biases.alibi(QUERIES, KEYS, m).sum())(jnp.ones(H))
    far = sum(abs(QUERIES[b, t] - KEYS[b, s]) for b, t, s in np.ndindex(B, T, S))
    np.testing.assert_allclose(got, np.full(H, -far), rtol=1e-6)


# --- relative buckets ---------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("buckets", "max_distance"), [(32, 128), (4, 3), (6, 11), (32, 512), (46, 127)]
)
def test_buckets_are_the_papers(buckets, max_distance, bidirectional):
    queries, keys = np.array([600, 0]), np.arange(1201)
    settings = {
        "buckets": buckets,
        "max_distance": max_distance,
        "bidirectional": bidirectional,
    }
    got = biases.relative_buckets(queries, keys, **settings)
    want = [[oracles.bucket(int(q), int(k), **settings) for k in keys] for q in queries]
    np.testing.assert_array_equal(got, want)
    assert got.dtype == jnp.int32
    assert got.min() == 0
    assert got.max() == buckets - 1


def test_buckets_of_t5_begin_where_hand_counting_says():
    """16 a direction: 0 to 7, then from 8, 8 sqrt(2), 16, ... = 8 * 2^(k / 2) on."""
    begins = [*range(8), *(math.ceil(8 * 2 ** (k / 2)) for k in range(8))]
    assert begins[8:] == [8, 12, 16, 23, 32, 46, 64, 91]
    query, keys = jnp.array([1000]), 1000 - jnp.array(begins)
    got = biases.relative_buckets(query, keys)[0]
    np.testing.assert_array_equal(got, range(16))
    just_nearer = biases.relative_buckets(query, keys[1:] + 1)[0]
    np.testing.assert_array_equal(just_nearer, range(15))
    after = biases.relative_buckets(query, 2000 - keys[1:])[0]
    np.testing.assert_array_equal(after, range(17, 32))


@pytest.mark.parametrize(
    ("bidirectional", "buckets", "max_distance", "want"),
    [
        (False, 8, 10, [7, 7, 7, 6, 5, 4, 4, 3, 2, 1] + [0] * 10),
        (False, 16, 9, [15, 15, 8, 7, 6, 5, 4, 3, 2, 1] + [0] * 10),
        (True, 4, 4, [1] * 10 + [0] + [3] * 9),
        (
            True,
            16,
            8,
            [7, 7, 7, 7, 6, 5, 4, 3, 2, 1, 0, 9, 10, 11, 12, 13, 14, 15, 15, 15],
        ),
    ],
)
def test_buckets_are_those_published(bidirectional, buckets, max_distance, want):
    """Offsets -10 to 9, in the tests of Google's IMP (max/modeling/embeddings)."""
    got = biases.relative_buckets(
        jnp.array([10]),
        jnp.arange(20),
        buckets=buckets,
        max_distance=max_distance,
        bidirectional=bidirectional,
    )
    np.testing.assert_array_equal(got[0], want)


def test_a_relative_bias_is_a_row_for_each_bucket():
    buckets = biases.relative_buckets(QUERIES, KEYS)
    with jax.enable_x64(True):
        got = biases.relative_bias(jnp.asarray(TABLE), buckets)
    np.testing.assert_array_equal(got, np.moveaxis(TABLE[buckets], -1, 1))

    def total(table):
        return biases.relative_bias(table, buckets).sum()

    counts = jax.grad(total)(jnp.ones((K, H)))
    want = np.bincount(np.ravel(buckets), minlength=K)
    np.testing.assert_array_equal(counts, np.tile(want[:, None], H))


# --- error text ---------------------------------------------------------------

BAD = {
    "slopes-none": (
        lambda: biases.alibi_slopes(0),
        r"^heads: expected at least 1, got 0 \(each has a slope\)",
    ),
    "alibi-axes": (
        lambda: biases.alibi(QUERIES, KEYS[0], jnp.ones(H)),
        r"^key_positions: .*the leading axes must agree",
    ),
    "alibi-slopes": (
        lambda: biases.alibi(QUERIES, KEYS, jnp.ones((B, H))),
        r"^slopes: expected shape \[H\], got \[2, 3\] \(a batch\?",
    ),
    "buckets-axes": (
        lambda: biases.relative_buckets(QUERIES, KEYS[0]),
        r"^key_positions: .*the leading axes must agree",
    ),
    "buckets-odd": (
        lambda: biases.relative_buckets(QUERIES, KEYS, buckets=7),
        r"^buckets: expected an even number >= 4, or >= 2 for one direction, got 7 \(",
    ),
    "buckets-few": (
        lambda: biases.relative_buckets(QUERIES, KEYS, buckets=2),
        r"^buckets: expected an even number >= 4, or >= 2 for one direction, got 2 \(",
    ),
    "buckets-one": (
        lambda: biases.relative_buckets(QUERIES, KEYS, buckets=1, bidirectional=False),
        r"^buckets: expected an even number >= 4, or >= 2 for one direction, got 1 \(",
    ),
    "max_distance": (
        lambda: biases.relative_buckets(QUERIES, KEYS, max_distance=8),
        r"^max_distance: expected more than 8, got 8 \(the distances below 8 have",
    ),
    "bias-table": (
        lambda: biases.relative_bias(jnp.ones(K), jnp.asarray(QUERIES)),
        r"^table: expected shape \[K, H\], got \[32\] \(an axis is missing\)",
    ),
    "bias-buckets": (
        lambda: biases.relative_bias(jnp.ones((K, H)), jnp.asarray(QUERIES[0])),
        r"^buckets: expected shape \[\.\.\., T, S\], got \[5\] \(an axis is missing\)",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_told_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@each
def test_positions_are_integers(bias):
    with pytest.raises(TypeError, match=r"^key_positions: expected int values, got f"):
        bias(QUERIES, KEYS.astype("float32"))
