"""Token cross-entropy against the sum of the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core.losses import linear_cross_entropy, token_cross_entropy
from tests import oracles
from tests.core.cases import draw

LOGITS, LABELS = draw(0, 2, 3, 11) * 4, np.array([[0, 10, 5], [2, 2, 7]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_value_and_gradient_are_the_definitions(smoothing):
    with jax.enable_x64(True):
        got, gradient = jax.vmap(
            jax.vmap(
                jax.value_and_grad(
                    lambda x, y: token_cross_entropy(x, y, smoothing=smoothing)
                )
            )
        )(LOGITS, LABELS)
    for i in np.ndindex(2, 3):
        want = oracles.token_cross_entropy(LOGITS[i], LABELS[i], smoothing)
        np.testing.assert_allclose(got[i], want, rtol=1e-12)
        # The gradient of a cross-entropy is p minus the target.
        p = np.exp(oracles.log_softmax(LOGITS[i]))
        target = smoothing / 11 + (1 - smoothing) * (np.arange(11) == LABELS[i])
        np.testing.assert_allclose(gradient[i], p - target, atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_leading_axes_are_vmap(smoothing):
    logits = jnp.asarray(LOGITS, "float32")

    def loss(x, y):
        return token_cross_entropy(x, y, smoothing=smoothing)

    np.testing.assert_allclose(
        jax.jit(loss)(logits, LABELS), jax.vmap(jax.vmap(loss))(logits, LABELS), 1e-6
    )


def test_a_sure_model_is_not_surprised():
    assert token_cross_entropy(jnp.array([0.0, 1e4]), jnp.array(1)) == 0
    assert token_cross_entropy(jnp.array([0.0, 1e4]), jnp.array(0)) == 1e4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_losses_are_wide_and_gradients_are_not(dtype):
    logits = jnp.zeros(3000, dtype)
    loss, gradient = jax.value_and_grad(token_cross_entropy)(logits, jnp.array(5))
    assert (loss.dtype, gradient.dtype) == (jnp.float32, dtype)
    np.testing.assert_allclose(loss, np.log(3000), rtol=1e-6)


def test_bad_arguments_are_told_what_to_do():
    logits, labels = jnp.ones((2, 3)), jnp.array([0, 1])
    for smoothing in (-0.1, 1.0):
        with pytest.raises(
            ValueError, match=r"^smoothing: expected a number in \[0, 1\)"
        ):
            token_cross_entropy(logits, labels, smoothing=smoothing)
    with pytest.raises(
        TypeError, match=r"^labels: expected int\w* values, got float32"
    ):
        token_cross_entropy(logits, jnp.ones(2))
    with pytest.raises(ValueError, match=r"^labels: expected shape .*got \[3\]"):
        token_cross_entropy(logits, jnp.array([0, 1, 2]))
    with pytest.raises(
        TypeError, match=r"^logits: expected float\w* values, got int32"
    ):
        token_cross_entropy(labels, jnp.array(0))


B, T, M, V = 3, 11, 5, 13
X, MATRIX, BIAS = draw(1, B, T, M), draw(2, V, M), draw(3, V)
IDS = np.random.default_rng(4).integers(0, V, (B, T))
COUNTS = np.where(np.arange(T) < np.array([[11], [4], [0]]), draw(5, B, T), 0)


def _plainly(x, matrix, bias, weights, smoothing):
    """The same with all logits at once."""
    logits = x @ matrix.T + bias
    return (weights * token_cross_entropy(logits, IDS, smoothing=smoothing)).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk_size", [1, 7, 12, 33, 1000])
def test_chunks_of_logits_change_nothing(chunk_size, smoothing):
    with jax.enable_x64(True):
        arguments = tuple(map(jnp.asarray, (X, MATRIX, BIAS, COUNTS)))

        def loss(x, matrix, bias, weights):
            return 3 * linear_cross_entropy(
                x,
                matrix,
                bias,
                IDS,
                weights,
                smoothing=smoothing,
                chunk_size=chunk_size,
            )

        every = (0, 1, 2, 3)
        got, gradients = jax.value_and_grad(loss, every)(*arguments)
        want, want_gradients = jax.value_and_grad(
            lambda *a: 3 * _plainly(*a, smoothing), every
        )(*arguments)
        np.testing.assert_allclose(loss(*arguments), got, rtol=1e-14)
    np.testing.assert_allclose(got, want, rtol=1e-13)
    for gradient, wanted in zip(gradients, want_gradients, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-11, atol=1e-13)


def test_no_bias_is_a_bias_of_zeros():
    x, matrix, weights = (jnp.asarray(a, jnp.float32) for a in (X, MATRIX, COUNTS))
    got, gradients = jax.value_and_grad(
        lambda x, m: linear_cross_entropy(x, m, None, IDS, weights), argnums=(0, 1)
    )(x, matrix)
    want, wanted = jax.value_and_grad(
        lambda x, m: linear_cross_entropy(x, m, jnp.zeros(V), IDS, weights),
        argnums=(0, 1),
    )(x, matrix)
    np.testing.assert_array_equal(got, want)
    for gradient, other in zip(gradients, wanted, strict=True):
        np.testing.assert_array_equal(gradient, other)


def test_the_logits_never_exist_all_at_once():
    """Neither they nor their gradient: what is held besides the results is smaller."""
    rows, vocab = (8, 64), 1009
    x, matrix = jnp.ones((*rows, M)), jnp.ones((vocab, M))

    def gradient(x, matrix):
        labels, weights = jnp.zeros(rows, int), jnp.ones(rows)
        return jax.value_and_grad(linear_cross_entropy, argnums=(0, 1))(
            x, matrix, None, labels, weights, chunk_size=32
        )

    memory = jax.jit(gradient).lower(x, matrix).compile().memory_analysis()
    if memory is None:
        pytest.skip("this backend does not say how much memory a program takes")
    assert memory.temp_size_in_bytes < 8 * 64 * vocab * 4 / 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_logits_are_wide_where_their_parts_are_narrow(dtype):
    x, matrix = jnp.asarray(X, dtype), jnp.asarray(MATRIX, dtype)
    weights = jnp.asarray(COUNTS, jnp.float32)
    got, gradients = jax.value_and_grad(
        lambda x, m: linear_cross_entropy(x, m, None, IDS, weights), argnums=(0, 1)
    )(x, matrix)
    assert got.dtype == jnp.float32
    assert {gradient.dtype for gradient in gradients} == {jnp.dtype(dtype)}
    upcast_arguments = x.astype(jnp.float32), matrix.astype(jnp.float32)
    want = _plainly(*upcast_arguments, 0.0, weights, 0.0)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_bad_chunks_are_told_what_to_do():
    arguments = jnp.ones((1, 2, 3)), jnp.ones((4, 3)), None, jnp.zeros((1, 2), int)
    weights = jnp.ones((1, 2))
    with pytest.raises(
        ValueError, match="chunk_size: expected at least 1 position, got 0"
    ):
        linear_cross_entropy(*arguments, weights, chunk_size=0)
    with pytest.raises(ValueError, match=r"smoothing: expected a number in \[0, 1\)"):
        linear_cross_entropy(*arguments, weights, smoothing=1.0)
    with pytest.raises(ValueError, match=r"weights: expected shape \[B=1, T=2\]"):
        linear_cross_entropy(*arguments, jnp.ones((1, 3)))


@pytest.mark.parametrize("label", [-100, -1, 7])
def test_a_label_outside_the_vocabulary_is_an_error_or_nan(label):
    logits, labels = jnp.zeros((2, 7)), jnp.array([3, label])
    with pytest.raises(ValueError, match=rf"^labels: .* from 0 to 6, got {label} "):
        token_cross_entropy(logits, labels)
    got = jax.jit(token_cross_entropy)(logits, labels)
    assert np.isfinite(got[0])
    assert np.isnan(got[1])


def test_a_label_without_weight_may_be_anything():
    x, matrix = jnp.ones((1, 3, 2)), jnp.arange(14.0).reshape(7, 2)
    labels, weights = jnp.array([[3, -100, 9]]), jnp.array([[2.0, 0.0, 0.0]])
    nats = jax.value_and_grad(lambda x, *rest: linear_cross_entropy(x, *rest))
    got, gradient = nats(x, matrix, None, labels, weights)
    want = 2 * token_cross_entropy(x[0, 0] @ matrix.T, jnp.array(3))
    np.testing.assert_allclose(got, want, 1e-6)
    assert np.isfinite(gradient).all()
    assert not gradient[0, 1:].any()
    counted = weights.at[0, 1].set(1.0)
    with pytest.raises(ValueError, match=r"^labels: .* from 0 to 6, got -100 "):
        linear_cross_entropy(x, matrix, None, labels, counted)
    assert np.isnan(jax.jit(linear_cross_entropy)(x, matrix, None, labels, counted))


def test_weights_of_any_dtype_are_taken():
    x, matrix, labels = jnp.ones((2, 3, 2)), jnp.ones((7, 2)), jnp.ones((2, 3), int)
    want = linear_cross_entropy(x, matrix, None, labels, jnp.ones((2, 3)))
    with jax.enable_x64(True):
        ones = jnp.ones((2, 3))  # float64, as a user makes them
        got = linear_cross_entropy(x, matrix, None, labels, ones)
    np.testing.assert_allclose(got, want, 1e-6)
    assert got.dtype == "float32"


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_no_targets_have_no_loss(shape):
    x, matrix = jnp.ones((*shape, 2)), jnp.ones((7, 2))
    labels = jnp.zeros(shape, int)
    assert linear_cross_entropy(x, matrix, None, labels, jnp.ones(shape)) == 0
