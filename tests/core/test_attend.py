"""Heads are a ladder of vmaps, and the field's own attention agrees with it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import masks
from attnjax.core.attend import Attended, attend, attend_heads
from attnjax.core.scores import additive
from tests.arg_specs import ATTENTION
from tests.core.cases import draw

pytestmark = pytest.mark.versions

B, T, S, H, D, E = ATTENTION
# 50 roundings of products and sums of width 11 and 7, in float32.
CLOSE = 2e-5


@jax.jit  # one compilation a shape, not one an operation
def heads(query, keys, values, mask=None, bias=None):
    return attend_heads(query, keys, values, mask=mask, bias=bias)


jax_heads = jax.jit(jax.nn.dot_product_attention)


def _inputs(heads=H, width=E, dtype="float32"):
    shapes = (B, T, H, D), (B, S, heads, D), (B, S, heads, width)
    return [jnp.asarray(draw(i, *shape), dtype) for i, shape in enumerate(shapes)]


def _mask():
    """Random, with at least one key for every query."""
    return jnp.asarray(draw(9, B, H, T, S) > 0).at[..., 2].set(True)


@jax.jit
def _ladder(query, keys, values, mask):
    """Multi-head attention as the three vmaps that it is."""

    def one(query, keys, values, mask):
        return attend(query, keys, values, mask=mask)

    over_targets = jax.vmap(one, in_axes=(0, None, None, 0))
    out = Attended(context=1, weights=0)
    over_heads = jax.vmap(over_targets, in_axes=(1, 1, 1, 0), out_axes=out)
    return jax.vmap(over_heads)(query, keys, values, mask)


def _objective(function):
    def objective(*arrays):
        y = function(*arrays)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return jax.jit(jax.value_and_grad(objective, argnums=(0, 1, 2)))


def test_heads_are_the_ladder_of_vmaps():
    inputs = *_inputs(), _mask()
    got, want = heads(*inputs), _ladder(*inputs)
    chex.assert_shape([got.context, got.weights], [(B, T, H, E), (B, H, T, S)])
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mask", [None, "random"])
def test_agrees_with_jax_in_value_and_gradient(mask):
    inputs = _inputs(width=D)  # jax refuses another value width
    mask = None if mask is None else _mask()

    def ours(*x):
        return heads(*x, mask).context

    def theirs(*x):
        return jax_heads(*x, mask=mask)

    got, want = _objective(ours)(*inputs), _objective(theirs)(*inputs)
    chex.assert_trees_all_close(got, want, rtol=CLOSE, atol=CLOSE)


def test_agrees_with_jax_under_a_bias():
    inputs, bias = _inputs(width=D), jnp.asarray(draw(3, B, H, T, S), "float32")
    got = heads(*inputs, bias=bias).context
    want = jax_heads(*inputs, bias=bias)
    np.testing.assert_allclose(got, want, CLOSE, CLOSE)


@pytest.mark.parametrize("shared", [1, 2, 3, 6])
def test_grouped_heads_are_repeated_heads(shared):
    query = jnp.asarray(draw(0, B, T, 6, D), "float32")
    _, keys, values = _inputs(shared, width=D)
    got = heads(query, keys, values)
    repeated = (jnp.repeat(x, 6 // shared, axis=2) for x in (keys, values))
    chex.assert_trees_all_close(got, heads(query, *repeated), rtol=CLOSE, atol=1e-6)
    want = jax_heads(query, keys, values)
    np.testing.assert_allclose(got.context, want, CLOSE, CLOSE)


@pytest.mark.parametrize(
    "shape", [(S,), (T, S), (1, 1, T, S), (B, 1, 1, S), (B, H, T, S), (H, 1, 1)]
)
@pytest.mark.parametrize("shared", [1, 3, H])
def test_masks_and_biases_broadcast(shape, shared):
    inputs = _inputs(H // shared)
    mask = jnp.asarray(draw(4, *shape) > -1)
    bias = jnp.asarray(draw(5, *shape), "float32")
    got = heads(*inputs, mask, bias=bias)
    broadcast = (jnp.broadcast_to(x, (B, H, T, S)) for x in (mask, bias))
    want = heads(*inputs, next(broadcast), bias=next(broadcast))
    chex.assert_trees_all_equal(got, want)


@pytest.mark.parametrize("shared", [1, H])
def test_narrow_gradients_of_keys_are_summed_wide_over_many_queries(shared):
    def loss(query, keys, values):
        return jnp.sum(attend_heads(query, keys, values).context.astype("float32"))

    _, keys, values = _inputs(H // shared)
    query = jnp.asarray(draw(3, B, 1500, H, D), "float32")
    inputs = [jnp.abs(x).astype("bfloat16") for x in (query, keys, values)]
    gradients = jax.jit(jax.grad(loss, argnums=(1, 2)))
    wants = gradients(*(x.astype("float32") for x in inputs))
    for got, want in zip(gradients(*inputs), wants, strict=True):
        worst = jnp.max(jnp.abs(got.astype("float32") - want))
        assert worst < 0.01 * jnp.max(jnp.abs(want))


def test_every_head_has_its_own_score():
    """Leaves of `score_params` belong to query heads, also where keys are shared."""
    q, k, v = _inputs(heads=1)
    learned = jnp.asarray(draw(9, H, D), jnp.float32)
    read = attend_heads(
        q, k, v, score=lambda p, q, k: additive(q, k, p), score_params=learned
    )
    for h in range(H):
        one = attend_heads(
            q[:, :, h : h + 1], k, v, score=lambda q, k, h=h: additive(q, k, learned[h])
        )
        np.testing.assert_allclose(read.context[:, :, h], one.context[:, :, 0], 1e-5)
        np.testing.assert_allclose(read.weights[:, h], one.weights[:, 0], 1e-5)


def test_an_empty_row_among_others_stays_empty():
    mask = _mask().at[1, 2, 3].set(False)
    got = heads(*_inputs(), mask)
    assert not got.context[1, 3, 2].any()
    assert not got.weights[1, 2, 3].any()
    assert got.context[1, 3, 1].any()


def test_cached_decoding_is_training():
    """Position 3 of a causal pass is one query at position 3 over a longer cache."""
    query, keys, values = _inputs()
    positions = jnp.arange(T)
    whole = heads(query, keys[:, :T], values[:, :T], masks.causal(positions, positions))
    cache = jnp.arange(S)  # slots 5 and 6 are not written yet
    step = heads(
        query[:, 3:4],
        keys.at[:, 4:].set(1e6),
        values.at[:, 4:].set(1e6),
        masks.causal(jnp.array([3]), cache),
    )
    np.testing.assert_allclose(step.context, whole.context[:, 3:4], 1e-5, 1e-6)
    np.testing.assert_allclose(
        step.weights[..., :4], whole.weights[:, :, 3:4, :4], 1e-5, 1e-6
    )


def test_packed_sentences_do_not_leak():
    x = jnp.asarray(draw(6, 1, S, H, D), "float32")
    segments = jnp.array([0, 0, 0, 1, 1, 1, 1])
    packed = heads(x, x, x, masks.segments(segments, segments)).context
    apart = [heads(y, y, y).context for y in (x[:, :3], x[:, 3:])]
    np.testing.assert_allclose(packed, jnp.concatenate(apart, axis=1), 1e-5, 1e-6)


def test_the_ladder_costs_two_products():
    text = jax.jit(attend_heads).lower(*_inputs()).as_text()
    assert text.count("dot_general") == 2


LEADING = [(), (1,), (2,), (2, 3), (1, 2, 1)]


@pytest.mark.parametrize("leading", LEADING, ids=str)
@pytest.mark.parametrize("shared", [1, H])
def test_any_number_of_leading_axes(leading, shared):
    """As many `vmap`s around heads as there are leading axes, with masks that share."""
    N = H // shared
    query, keys, values = (
        jnp.asarray(draw(10 + i, *leading, *shape), "float32")
        for i, shape in enumerate([(T, H, D), (S, N, D), (S, N, E)])
    )
    for shape in [(T, S), (H, 1, S), (*leading, 1, T, S), (*leading, H, T, S)]:
        mask = jnp.asarray(draw(13, *shape) > -1)
        bias = jnp.asarray(draw(14, *shape), "float32")
        got = heads(query, keys, values, mask, bias)
        full = (jnp.broadcast_to(x, (*leading, H, T, S)) for x in (mask, bias))
        # One row after the other, each as a batch of one.
        flat = (
            x.reshape(-1, 1, *x.shape[len(leading) :])
            for x in (query, keys, values, *full)
        )
        want = jax.lax.map(lambda row: heads(*row), tuple(flat))
        want = jax.tree.map(lambda x, like: x.reshape(like.shape), want, got)
        chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("empty", ["B", "T", "S"])
def test_nothing_to_do_gives_the_empty_array(empty):
    sizes = {"B": B, "T": T, "S": S} | {empty: 0}
    query = jnp.ones((sizes["B"], sizes["T"], H, D))
    keys = jnp.ones((sizes["B"], sizes["S"], H, D))
    found = attend_heads(query, keys, keys)
    assert found.context.shape == query.shape
    assert found.weights.shape == (sizes["B"], H, sizes["T"], sizes["S"])
    assert not found.context.any()


def _errors(context, q, k, v):
    """The error of low-precision contexts, and the root mean square of the exact."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scored = np.einsum("bthd,bshd->bhts", q, k) / np.sqrt(q.shape[-1])
    likelihood = np.exp(scored)
    weights = likelihood / likelihood.sum(-1, keepdims=True)
    want = np.einsum("bhts,bshe->bthe", weights, v)
    error = np.asarray(context, np.float64) - want
    return np.sqrt(np.mean(error**2)), np.sqrt(np.mean(want**2))


def test_bfloat16_is_as_exact_as_jax():
    """Scores keep the bits of their sums until the weights are made."""
    q, k, v = (jnp.asarray(draw(20 + i, 4, 64, 4, 64), "bfloat16") for i in range(3))
    ours, _ = _errors(heads(q, k, v).context, q, k, v)
    with jax.numpy_dtype_promotion("standard"):
        theirs, size = _errors(jax_heads(q, k, v), q, k, v)
    assert ours < 1.05 * theirs < 0.01 * size


@pytest.mark.parametrize("bias", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_bias_does_not_change_the_dtype(dtype, bias):
    with jax.enable_x64(True):
        found = heads(*_inputs(dtype=dtype), bias=jnp.zeros((T, S), bias))
        assert found.context.dtype == found.weights.dtype == dtype


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"keys": jnp.ones((B, S, 2, D)), "values": jnp.ones((B, S, 2, E))},
            ValueError,
            r"^query: expected a number of heads that is a multiple of the 2 key "
            r"heads, got 3 \(",
        ),
        (
            {"mask": jnp.ones((B, T, S), bool)},
            ValueError,
            r"^mask: expected a shape that broadcasts to \[B, H, T, S\] = "
            r"\[2, 3, 5, 7\], got \[2, 5, 7\] \(",
        ),
        (
            {"bias": jnp.ones((T, S - 1))},
            ValueError,
            r"^bias: expected a shape that broadcasts .* got \[5, 6\]",
        ),
        ({"mask": jnp.ones((T, S))}, TypeError, r"^mask: expected a boolean .*`bias`"),
        (
            {"query": jnp.ones((T, H, D))},
            ValueError,
            r"^keys: expected shape \[S, N, C\], got \[2, 7, 3, 11\] \(",
        ),
        (
            {"values": jnp.ones((B, S + 1, H, E))},
            ValueError,
            r"^values: expected shape \[2, S=7, N=3, E\], got \[2, 8, 3, 13\]",
        ),
    ],
)
def test_bad_heads_are_told_what_to_do(change, error, message):
    names = "query", "keys", "values"
    good = dict(zip(names, _inputs(), strict=True))
    with pytest.raises(error, match=message):
        functools.partial(attend_heads, **(good | change))()
