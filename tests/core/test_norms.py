"""Norms against one vector by hand, and torch-free facts about them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core.norms import layer_norm, rms_norm
from tests import oracles
from tests.core.cases import draw

B, M = 3, 7
X, SCALE, BIAS = draw(0, B, M), draw(1, M), draw(2, M)


def _layer(x, scale, bias):
    """Ba 2016, eq. 4."""
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    return scale * (x - mean) / math.sqrt(variance + 1e-5) + bias


def _rms(x, scale, bias):
    """Zhang & Sennrich 2019, eq. 4."""
    del bias
    return scale * x / math.sqrt(sum(v * v for v in x) / len(x) + 1e-6)


NORMS = {
    "layer": (layer_norm, _layer),
    "rms": (lambda x, scale, bias: rms_norm(x, scale), _rms),
}
each_norm = pytest.mark.parametrize(("norm", "oracle"), NORMS.values(), ids=NORMS)


@each_norm
def test_values_and_gradients_are_the_papers(norm, oracle):
    with jax.enable_x64(True):
        got = norm(jnp.asarray(X), jnp.asarray(SCALE), jnp.asarray(BIAS))
        gradients = jax.grad(
            lambda x, s, b: jnp.sum(jnp.sin(norm(x, s, b))), argnums=(0, 1, 2)
        )(*map(jnp.asarray, (X[0], SCALE, BIAS)))
    for row, x in zip(got, X, strict=True):
        np.testing.assert_allclose(row, oracle(x, SCALE, BIAS), rtol=1e-12)
    named = {"x": X[0], "scale": SCALE, "bias": BIAS}
    want = oracles.numerical_gradients(lambda p: np.sin(oracle(**p)).sum(), named)
    for gradient, name in zip(gradients, named, strict=True):
        np.testing.assert_allclose(gradient, want[name], rtol=1e-6, atol=1e-8)


@each_norm
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_dtype_is_kept_and_sums_are_wide(norm, oracle, dtype):
    x, scale, bias = (jnp.asarray(a, dtype) for a in (X[0], SCALE, BIAS))
    got = norm(x, scale, bias)
    assert got.dtype == dtype
    in_float32 = (
        np.asarray(a.astype(jnp.float32), np.float64) for a in (x, scale, bias)
    )
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
        got.astype(jnp.float32), oracle(*in_float32), 4 * eps, 4 * eps
    )


@each_norm
def test_a_constant_vector_has_a_value_and_a_gradient(norm, oracle):
    del oracle
    zeros, ones = jnp.zeros(M), jnp.ones(M)
    value, gradient = jax.value_and_grad(lambda x: norm(x, ones, zeros).sum())(zeros)
    assert value == 0
    assert jnp.isfinite(gradient).all()


def test_without_a_bias_nothing_is_added():
    x, scale = jnp.asarray(X[0], jnp.float32), jnp.asarray(SCALE, jnp.float32)
    np.testing.assert_array_equal(
        layer_norm(x, scale), layer_norm(x, scale, jnp.zeros(M))
    )


@pytest.mark.parametrize("norm", [layer_norm, rms_norm])
def test_a_scale_of_another_width_is_named(norm):
    with pytest.raises(ValueError, match=r"scale: expected shape \[M=7\], got \[5\]"):
        norm(jnp.ones((2, 7)), jnp.ones(5))
