"""Masks compare positions; each is held to a loop over queries and keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import masks

QUERIES, KEYS = np.array([4, 0, 2]), np.array([3, 1, 0, 2, 5])  # in no order


def _loop(attends):
    return np.array([[attends(int(q), int(k)) for k in KEYS] for q in QUERIES])


RULES = {
    "causal": (masks.causal, lambda q, k: k <= q),
    "window": (
        lambda q, k: masks.sliding_window(q, k, before=2, after=1),
        lambda q, k: q - 2 <= k <= q + 1,
    ),
    "window-back": (
        lambda q, k: masks.sliding_window(q, k, before=1),
        lambda q, k: k in (q - 1, q),
    ),
    "window-self": (
        lambda q, k: masks.sliding_window(q, k, before=0),
        lambda q, k: k == q,
    ),
    "segments": (masks.segments, lambda q, k: q == k),
}


@pytest.mark.parametrize(("mask", "rule"), RULES.values(), ids=RULES.keys())
def test_a_mask_is_its_rule(mask, rule):
    got = mask(jnp.asarray(QUERIES), jnp.asarray(KEYS))
    assert got.dtype == bool
    np.testing.assert_array_equal(got, _loop(rule))


@pytest.mark.parametrize(("mask", "rule"), RULES.values(), ids=RULES.keys())
def test_leading_axes_are_vmap(mask, rule):
    q, k = np.stack([QUERIES, QUERIES + 1]), np.stack([KEYS, KEYS - 1])
    np.testing.assert_array_equal(jax.jit(mask)(q, k), jax.vmap(mask)(q, k))


def test_causal_is_not_about_corners():
    positions = jnp.arange(5)
    square = masks.causal(positions, positions)
    np.testing.assert_array_equal(square, np.tril(np.ones((5, 5), bool)))
    np.testing.assert_array_equal(masks.causal(positions[3:], positions), square[3:])


def test_padding_counts_from_the_left():
    got = masks.padding(jnp.array([[0, 2], [3, 5]]), 3)
    want = [[[0, 0, 0], [1, 1, 0]], [[1, 1, 1], [1, 1, 1]]]
    np.testing.assert_array_equal(got, np.array(want, bool))


def test_a_window_of_negative_reach_is_refused():
    x = jnp.arange(3)
    with pytest.raises(ValueError, match=r"^before: expected .* >= 0, got -1 \("):
        masks.sliding_window(x, x, before=-1)
    with pytest.raises(ValueError, match=r"^after: expected .* >= 0, got -2 \("):
        masks.sliding_window(x, x, before=0, after=-2)


@pytest.mark.parametrize("mask", [masks.causal, masks.segments])
def test_positions_are_integers_and_agree(mask):
    x = jnp.arange(3)
    with pytest.raises(
        TypeError, match=r"^key_\w+: expected int\w* values, got float32"
    ):
        mask(x, jnp.ones(3))
    with pytest.raises(
        ValueError, match=r"^key_\w+: expected .*leading axes must agree"
    ):
        mask(jnp.ones((2, 3), int), jnp.ones((4, 5), int))


def test_lengths_are_integers():
    with pytest.raises(
        TypeError, match=r"^lengths: expected int\w* values, got float32"
    ):
        masks.padding(jnp.ones(2), 3)


# --- structural masks ---------------------------------------------------------

POSITIONS = np.array([[0, 1, 2, 3, -1], [4, 5, 6, 7, 8]])
SLOTS = np.array([[0, 1, 2, 3, -1, -1], [3, 4, 5, 6, 7, 8]])
SEGMENTS = np.array([[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])
K_SEGMENTS = np.array([[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]])
EXTRA = np.indices((2, 5, 6)).sum(axis=0) % 3 > 0


def sees(query, key, b, t, s, *, causal, window, segments, dense):
    """Whether one query attends to one key, condition by condition."""
    return bool(
        key >= 0
        and (not causal or key <= query)
        and (window is None or query - window <= key)
        and (window is None or causal or key <= query + window)
        and (not segments or SEGMENTS[b, t] == K_SEGMENTS[b, s])
        and (not dense or EXTRA[b, t, s])
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 0, 2])
@pytest.mark.parametrize(("segments", "dense"), [(False, False), (True, True)])
def test_a_structural_mask_is_all_its_conditions(causal, window, segments, dense):
    mask = masks.AttentionMask(
        query_positions=jnp.asarray(POSITIONS),
        key_positions=jnp.asarray(SLOTS),
        causal=causal,
        sliding_window=window,
        query_segments=jnp.asarray(SEGMENTS) if segments else None,
        key_segments=jnp.asarray(K_SEGMENTS) if segments else None,
        dense=jnp.asarray(EXTRA) if dense else None,
    )
    kinds = {"causal": causal, "window": window, "segments": segments, "dense": dense}
    want = [
        [
            [sees(q, k, b, t, s, **kinds) for s, k in enumerate(SLOTS[b])]
            for t, q in enumerate(POSITIONS[b])
        ]
        for b in range(2)
    ]
    got = mask.to_dense()
    # Where only padding counts, queries share one row.
    assert got.shape == (2, 1, 5 if len(set(map(str, want[0]))) > 1 else 1, 6)
    np.testing.assert_array_equal(
        np.broadcast_to(got, (2, 1, 5, 6))[:, 0], np.array(want)
    )
