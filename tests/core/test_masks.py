"""Masks are about positions; each is a comparison that a loop can make."""

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
