"""Attention to recent positions against its definition, one query at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax as aj
from attnjax.core import recent, scores
from tests.conftest import TOLERANCE

T, N, D, E = 5, 3, 4, 2
S = N - 1 + T


def draw(dtype=np.float64):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    mask = np.array([0, 0, 0, 1, 0, 1, 1], bool)
    memory = aj.RecentMemory(
        normal(S, D), normal(S, E), mask, normal(N, D), normal(N, E)
    )
    return normal(T, D), memory


def one_at_a_time(queries, memory):
    """Makes the keys and the values of each query, and attends to them."""
    found, every = [], []
    for t, query in enumerate(queries):
        slots = [N - 1 + t - a for a in range(N)]
        read = aj.attend(
            query,
            memory.keys[np.array(slots)] + memory.age_keys,
            memory.values[np.array(slots)] + memory.age_values,
            mask=memory.mask[np.array(slots)],
            score=scores.dot,
        )
        found.append(read.context)
        every.append(read.weights)
    return jnp.stack(found), jnp.stack(every)


def test_values_and_gradients_are_those_of_keys_and_values_made_for_each_query():
    with jax.enable_x64(True):
        queries, memory = draw()
        cotangent = np.random.default_rng(1).standard_normal((T, E))

        def total(attend, queries, floats):
            context, weights = attend(queries, memory._replace(**floats))
            return jnp.sum(context * cotangent) + jnp.sum(weights**2)

        floats = memory._asdict()
        del floats["mask"]
        both = [
            jax.value_and_grad(lambda q, f, a=attend: total(a, q, f), argnums=(0, 1))(
                queries, floats
            )
            for attend in (aj.attend_recent, one_at_a_time)
        ]
        for ours, want in zip(*map(jax.tree.leaves, both), strict=True):
            np.testing.assert_allclose(ours, want, rtol=TOLERANCE["float64"])
        context, weights = aj.attend_recent(queries, memory)
        assert not weights[0].any()
        assert not context[0].any()
        np.testing.assert_allclose(weights.sum(1)[2:], 1)


def test_what_is_masked_or_too_old_is_never_seen():
    queries, memory = draw(np.float32)
    ours = aj.attend_recent(queries, memory)
    hidden = np.where(memory.mask[:, None], memory.keys, 1e9).astype(np.float32)
    changed = aj.attend_recent(queries, memory._replace(keys=hidden))
    assert np.array_equal(ours.weights, changed.weights)
    last = memory.values.copy()
    last[: S - N] = 1e9
    again = aj.attend_recent(queries, memory._replace(values=last))
    np.testing.assert_array_equal(ours.context[-1], again.context[-1])


def test_by_position_undoes_by_age():
    x = np.random.default_rng(2).standard_normal((T, N)).astype(np.float32)
    wide = recent.by_position(jnp.array(x))
    assert wide.shape == (T, S)
    np.testing.assert_array_equal(recent.by_age(wide, N), x)
    assert np.count_nonzero(wide) == x.size


def test_a_memory_of_another_length_is_named():
    queries, memory = draw(np.float32)
    short = memory._replace(
        keys=memory.keys[1:], values=memory.values[1:], mask=memory.mask[1:]
    )
    with pytest.raises(ValueError, match=f"memory.keys: expected {S} positions, got"):
        aj.attend_recent(queries, short)
