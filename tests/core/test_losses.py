"""Token cross-entropy against the sum of the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core.losses import token_cross_entropy
from tests import oracles
from tests.core.cases import draw

LOGITS, LABELS = draw(0, 2, 3, 11) * 4, np.array([[0, 10, 5], [2, 2, 7]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_value_and_gradient_are_the_definitions(smoothing):
    with jax.enable_x64(True):
        got, slope = jax.vmap(
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
        np.testing.assert_allclose(slope[i], p - target, atol=1e-14)


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
    loss, slope = jax.value_and_grad(token_cross_entropy)(logits, jnp.array(5))
    assert (loss.dtype, slope.dtype) == (jnp.float32, dtype)
    np.testing.assert_allclose(loss, np.log(3000), rtol=1e-6)


def test_bad_arguments_are_told_what_to_do():
    logits, labels = jnp.ones((2, 3)), jnp.array([0, 1])
    for smoothing in (-0.1, 1.0):
        with pytest.raises(
            ValueError, match=r"^smoothing: expected a share in \[0, 1\)"
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
