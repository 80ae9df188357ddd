"""The density of pen points against the paper's formulas, and at their edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core.exponential import finite_exp
from attnjax.core.mixtures import (
    mean_offset,
    pen_log_density,
    pen_mixture,
    pen_mixture_width,
    sample_pen,
)
from tests import oracle_handwriting, oracles
from tests.conftest import TOLERANCE
from tests.core.cases import draw

pytestmark = pytest.mark.versions

K = 3
N = pen_mixture_width(K)
POINT = np.array([0.4, -0.7, 1.0])


def log_density(outputs, point, bias=0.0):
    return pen_log_density(pen_mixture(outputs, bias=bias), point)


value_and_grad = jax.jit(jax.value_and_grad(log_density))


def with_outputs(*, rho=0.0, sigma=0.0, end=0.0, mu=0.0, K=1):
    """Outputs of K equal components."""
    parts = [[end], np.zeros(K), np.full(2 * K, mu), np.full(2 * K, sigma)]
    return np.concatenate([*parts, np.full(K, rho)]).astype(np.float32)


@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_the_density_is_that_of_the_paper(end, bias):
    outputs, point = draw(1, N), np.array([0.4, -0.7, end])
    with jax.enable_x64(True):
        got = log_density(jnp.asarray(outputs), jnp.asarray(point), bias)
    want = np.log(oracle_handwriting.density(outputs, point, bias))
    np.testing.assert_allclose(got, want, rtol=TOLERANCE["float64"])


def test_its_gradient_is_that_of_finite_differences():
    outputs = draw(2, N)
    with jax.enable_x64(True):
        got = jax.grad(log_density)(jnp.asarray(outputs), jnp.asarray(POINT))
    want = oracles.numerical_gradient(
        lambda x: np.log(oracle_handwriting.density(x, POINT)), outputs
    )
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_the_density_integrates_to_one(bias):
    outputs = 0.4 * draw(3, N)
    axis = np.linspace(-12, 12, 241)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = 0.0
    with jax.enable_x64(True):
        mixture = pen_mixture(jnp.asarray(outputs), bias=bias)
        for end in (0.0, 1.0):
            points = np.column_stack([grid, np.full(len(grid), end)])
            logs = jax.vmap(pen_log_density, (None, 0))(mixture, jnp.asarray(points))
            total += float(jnp.exp(logs).sum()) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(total, 1, rtol=1e-9)


# tanh(9.5) is 1 - 1e-8, which is 1 in float32; the reference computes in float64.
@pytest.mark.parametrize("rho", [0.0, 3.0, 9.5, -9.5, 15.0, -15.0])
def test_a_correlation_of_one_is_exact_in_float32(rho):
    # Off the line on which all points lie, by a deviation, as a power of two: u - v is
    # exact then.
    off = 2.0 ** round(np.log2(np.exp(-abs(rho))))
    u, v = 0.75, np.copysign(0.75 + off, rho)
    point = jnp.array([u, v, 0.0], jnp.float32)
    got, _ = value_and_grad(jnp.asarray(with_outputs(rho=rho)), point)
    square = (u + v) ** 2 * (1 + np.exp(-2 * rho)) + (u - v) ** 2 * (
        1 + np.exp(2 * rho)
    )
    log_cosh = np.logaddexp(rho, -rho) - np.log(2)
    want = -np.log(2 * np.pi) + log_cosh - square / 8 - np.log(2)
    np.testing.assert_allclose(got, want, rtol=TOLERANCE["float32"])


@pytest.mark.parametrize("sigma", [-20.0, -9.0, 9.0, 20.0])
def test_tiny_and_huge_scales_are_exact_in_float32(sigma):
    scale = np.float32(np.exp(sigma))
    point = np.array([0.75 * scale, -scale, 0.0], np.float32)
    got, _ = value_and_grad(jnp.asarray(with_outputs(sigma=sigma)), jnp.asarray(point))
    want = -np.log(2 * np.pi) - 2 * sigma - (0.75**2 + 1) / 2 - np.log(2)
    np.testing.assert_allclose(got, want, rtol=TOLERANCE["float32"])


@pytest.mark.parametrize("end", [-300.0, -30.0, 30.0, 300.0])
@pytest.mark.parametrize("happens", [0.0, 1.0])
def test_a_certain_end_of_stroke_has_a_finite_cost_and_a_gradient(end, happens):
    outputs = jnp.asarray(with_outputs(end=end))
    point = jnp.array([0.0, 0.0, happens])
    value, gradient = value_and_grad(outputs, point)
    wrong = (end < 0) != (happens == 1)  # e = 1 / (1 + exp(end))
    want = -np.log(2 * np.pi) - (abs(end) if wrong else 0)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    assert abs(float(gradient[0])) == pytest.approx(1.0 if wrong else 0.0, abs=1e-12)


@pytest.mark.parametrize(
    "extreme",
    [
        *({"sigma": -1e4}, {"sigma": 1e4}, {"rho": 1e4}, {"rho": -1e4}, {"mu": 1e6}),
        *({"sigma": -200.0, "rho": 200.0}, {"sigma": -40.0}, {"rho": 45.0}),
    ],
)
@pytest.mark.parametrize("K", [1, 2])
def test_nothing_that_a_network_emits_makes_a_nan(extreme, K):
    outputs = jnp.asarray(with_outputs(K=K, **extreme))
    value, gradient = value_and_grad(outputs, jnp.asarray(POINT, jnp.float32))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("mu", [30.0, 1e3])
@pytest.mark.parametrize("sigma", [-15.0, 0.0])
def test_a_point_far_from_every_component_pulls_them_by_the_full_gradient(mu, sigma):
    """A density with a floor inside the logarithm has a gradient of 0 there."""
    outputs = jnp.asarray(with_outputs(mu=mu, sigma=sigma, K=2))
    _, gradient = value_and_grad(outputs, jnp.zeros(3, jnp.float32))
    pull = gradient[3:5]  # by the means along x, half of it for each
    np.testing.assert_allclose(pull, -mu * np.exp(-2 * sigma) / 2, rtol=1e-5)
    assert (gradient[7:11] > 0).all()  # and larger scales would help


def test_a_dead_component_leaves_the_others_alone():
    alive, point = with_outputs(), jnp.zeros(3, jnp.float32)
    both = jnp.array([0.0, 0, 0, 0, 1, 0, 1, 0, -1e3, 0, -1e3, 0, 0])
    value, gradient = value_and_grad(both, point)
    want = log_density(jnp.asarray(alive), point) - np.log(2)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("bias", [0.0, 0.6])
def test_samples_have_exactly_the_density(bias, rng):
    """The share of samples in each cell of a grid is the density's, by chi squared."""
    outputs = 0.5 * draw(4, N)
    mixture = pen_mixture(jnp.asarray(outputs, jnp.float32), bias=bias)
    count = 20_000
    rngs = jax.random.split(rng, count)
    drawn = np.asarray(jax.jit(jax.vmap(sample_pen, (0, None)))(rngs, mixture))
    end, components = oracle_handwriting.density_parts(outputs, bias)
    assert abs(drawn[:, 2].mean() - end) < 4 * np.sqrt(end * (1 - end) / count)
    mean = sum(pi * mu for pi, mu, _ in components)
    moment = sum(pi * (c + np.outer(mu, mu)) for pi, mu, c in components)
    spread = np.sqrt(np.diag(moment - np.outer(mean, mean)))
    edges = [m + s * np.linspace(-3, 3, 7) for m, s in zip(mean, spread, strict=True)]
    seen, _, _ = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=edges)
    want = np.zeros_like(seen)
    fine = 12  # midpoints of each cell along an axis
    for i in range(6):
        for j in range(6):
            sides = [np.diff(e)[n] for e, n in zip(edges, (i, j), strict=True)]
            for a in range(fine):
                for b in range(fine):
                    at = [
                        edges[0][i] + (a + 0.5) / fine * sides[0],
                        edges[1][j] + (b + 0.5) / fine * sides[1],
                    ]
                    both = sum(
                        oracle_handwriting.density(outputs, np.array([*at, e]), bias)
                        for e in (0.0, 1.0)
                    )
                    want[i, j] += both * sides[0] * sides[1] / fine**2
    want *= count
    big = want > 20
    squares = (seen - want)[big] ** 2 / want[big]
    # Chi squared with so many degrees of freedom is above this once in 10,000 times.
    degrees = int(big.sum())
    assert squares.sum() < degrees + 3.8 * np.sqrt(2 * degrees) + 10


def test_the_mean_offset_is_that_of_the_components():
    outputs = draw(5, N)
    _, components = oracle_handwriting.density_parts(outputs)
    with jax.enable_x64(True):
        got = mean_offset(pen_mixture(jnp.asarray(outputs)))
    np.testing.assert_allclose(got, sum(pi * mu for pi, mu, _ in components))


def test_bias_acts_on_scales_and_weights():
    outputs = jnp.asarray(draw(6, N), jnp.float32)
    plain, tidy = pen_mixture(outputs), pen_mixture(outputs, bias=2.0)
    np.testing.assert_allclose(tidy.log_scales, plain.log_scales - 2, rtol=1e-6)
    assert tidy.log_weights.max() > plain.log_weights.max()


@pytest.mark.parametrize("count", [1, 6, 12, 14])
def test_other_numbers_of_outputs_are_refused(count):
    with pytest.raises(ValueError, match=rf"outputs: expected 6\*K \+ 1 .* {count}"):
        pen_mixture(jnp.zeros(count))


def test_a_negative_bias_is_refused():
    with pytest.raises(ValueError, match=r"^bias: expected at least 0, got -1\.0 \("):
        pen_mixture(jnp.zeros(7), bias=-1.0)


def test_a_finite_exponential_is_exp_below_its_limit_and_has_a_slope_above():
    x = jnp.array([-200.0, -3.0, 0.0, 49.0])
    np.testing.assert_array_equal(finite_exp(x), jnp.exp(x))
    value, slope = jax.value_and_grad(lambda x: finite_exp(x, limit=5.0))(9.0)
    np.testing.assert_allclose([value, slope], np.exp(5.0), rtol=1e-6)
