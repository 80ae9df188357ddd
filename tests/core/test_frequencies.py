"""RoPE frequencies, their scaling to longer texts, and the angles."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import frequencies
from tests import oracle_positions as oracles

# RoPE scaling: frequencies, factor -> frequencies.
SCALINGS = {
    "linear": lambda theta, factor: theta / factor,
    "ntk": lambda theta, factor: frequencies.rope_scaling_ntk(theta, factor=factor),
    "llama3": lambda theta, factor: frequencies.rope_scaling_llama3(
        theta, factor=factor, original_max_length=512
    ),
    "yarn": lambda theta, factor: frequencies.rope_scaling_yarn(
        theta, factor=factor, original_max_length=512
    ),
}
each_scaling = pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)


# --- laws of RoPE scaling -------------------------------------------------------


@each_scaling
def test_the_lowest_frequency_is_divided_by_the_factor(scaling):
    theta = frequencies.rope_frequencies(46)
    got = scaling(theta, 3.0)
    assert got.shape == theta.shape
    np.testing.assert_allclose(got[-1], theta[-1] / 3, rtol=1e-12)
    assert (np.diff(got) < 0).all()
    assert ((got <= theta) & (got >= theta / 3 * (1 - 1e-12))).all()


@each_scaling
def test_a_factor_of_one_changes_nothing(scaling):
    theta = frequencies.rope_frequencies(46)
    np.testing.assert_allclose(scaling(theta, 1.0), theta, rtol=1e-14)


@pytest.mark.parametrize("scaling", ["ntk", "llama3", "yarn"])
def test_the_highest_frequency_is_unchanged(scaling):
    theta = frequencies.rope_frequencies(46)
    assert SCALINGS[scaling](theta, 3.0)[0] == theta[0]


# --- the papers ---------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 10, 46])
@pytest.mark.parametrize("base", [1.0, 100.0, 10_000, 500_000.0])
def test_frequencies_are_the_papers(width, base):
    got = frequencies.rope_frequencies(width, theta=base)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, oracles.frequencies(width, base), rtol=1e-13)


@pytest.mark.parametrize("width", [4, 10, 46])
@pytest.mark.parametrize("factor", [2, 8.0])
def test_ntk_changes_the_base(width, factor):
    theta = frequencies.rope_frequencies(width, theta=5000.0)
    got = frequencies.rope_scaling_ntk(theta, factor=factor)
    want = oracles.ntk_frequencies(width, factor, base=5000.0)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize(
    ("base", "factor", "context", "low", "high"),
    [
        (500_000.0, 8, 8192, 1.0, 4.0),  # Llama 3.1
        (500_000.0, 32, 8192, 1.0, 4.0),  # Llama 3.2
        (10_000.0, 16, 4096, 1.0, 32.0),  # YaRN, Llama 2
        (100.0, 3, 7, 0.5, 2.0),
    ],
)
def test_llama3_is_the_reference_codes(base, factor, context, low, high):
    theta = frequencies.rope_frequencies(128, theta=base)
    got = frequencies.rope_scaling_llama3(
        theta,
        factor=factor,
        original_max_length=context,
        low_freq_factor=low,
        high_freq_factor=high,
    )
    want = oracles.banded_frequencies(theta, factor, context, low, high)
    np.testing.assert_allclose(got, want, rtol=1e-13)
    if context > 7:  # all three bands are met
        assert got[0] == theta[0]
        assert got[-1] == theta[-1] / factor
        between = (got != theta) & (got != theta / factor)
        assert between.any()


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize(
    ("width", "base", "factor", "context", "fast", "slow"),
    [
        (128, 10_000.0, 16, 4096, 32, 1),  # the paper's Llama 2
        (128, 1_000_000.0, 4.0, 32_768, 32, 1),  # Qwen2
        (64, 500_000.0, 3, 77, 8.0, 0.5),
        (6, 100.0, 2, 11, 32, 1),  # no pair is fast
        (46, 10_000.0, 5, 512, 2.0, 1.999),  # the ramp is a step
        (8, 10_000.0, 7, 10**7, 64, 32),  # nor is any slow
    ],
)
def test_yarn_is_its_codes(width, base, factor, context, fast, slow, truncate):
    theta = frequencies.rope_frequencies(width, theta=base)
    got = frequencies.rope_scaling_yarn(
        theta,
        factor=factor,
        original_max_length=context,
        beta_fast=fast,
        beta_slow=slow,
        truncate=truncate,
    )
    want = oracles.yarn_frequencies(width, base, factor, context, fast, slow, truncate)
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_yarn_is_not_the_ramp_over_rotations():
    """Of the two published ramps the one of Hugging Face is built."""
    theta, s = frequencies.rope_frequencies(128), 16
    yarn = frequencies.rope_scaling_yarn(theta, factor=s, original_max_length=4096)
    parts = frequencies.rope_scaling_llama3(
        theta, factor=s, original_max_length=4096, high_freq_factor=32
    )
    assert np.max(yarn / parts) > 1.5


@pytest.mark.parametrize("factor", [1.5, 4, 40.0])
def test_the_attention_factor_is_the_papers(factor):
    # Eq. 22: sqrt(1 / t) = 0.1 ln(s) + 1.
    got = frequencies.yarn_attention_factor(factor)
    assert got == pytest.approx(0.1 * math.log(factor) + 1, rel=1e-15)
    assert frequencies.yarn_attention_factor(1 / factor) == 1
    twice = frequencies.yarn_attention_factor(factor, mscale=2.0) - 1
    assert twice == pytest.approx(2 * (got - 1))


# --- angles -------------------------------------------------------------------


def off(got, want):
    """The distance on the circle."""
    return np.abs((np.asarray(got, np.float64) - want + math.pi) % math.tau - math.pi)


POSITIONS = np.concatenate([np.arange(3000), np.arange(1023, 2**17, 1024), [2**17 - 1]])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_angles_of_large_positions_are_accurate(dtype):
    theta = frequencies.rope_frequencies(128)
    got = frequencies.angles(jnp.asarray(POSITIONS), theta, dtype=dtype)
    assert got.dtype == jnp.float32
    want = np.multiply.outer(POSITIONS, theta)
    assert off(got, want).max() < 2e-4
    plain = jnp.asarray(POSITIONS[:1024], "float32")[:, None] * theta.astype("float32")
    np.testing.assert_array_equal(got[:1024], plain)


def test_float64_angles_are_the_product():
    theta = frequencies.rope_frequencies(128)
    with jax.enable_x64(True):
        got = frequencies.angles(jnp.asarray(POSITIONS), theta, dtype="float64")
    assert got.dtype == "float64"
    # 131,071 x 2^-53 of rounding, a few times.
    assert off(got, np.multiply.outer(POSITIONS, theta)).max() < 1e-10


def test_negative_positions_rotate_back():
    theta, positions = frequencies.rope_frequencies(10), jnp.arange(2100)
    got = frequencies.angles(-positions, theta, dtype="float32")
    want = -frequencies.angles(positions, theta, dtype="float32")
    np.testing.assert_array_equal(got, want)


# --- error text ---------------------------------------------------------------

THETA = np.array([1.0, 0.1, 0.01])
BAD = {
    "odd": (
        lambda: frequencies.rope_frequencies(7),
        r"^head_dim: expected an even number >= 2, got 7 \(components are rotated in",
    ),
    "none": (
        lambda: frequencies.rope_frequencies(0),
        r"^head_dim: expected an even number >= 2, got 0 \(",
    ),
    "base": (
        lambda: frequencies.rope_frequencies(4, theta=0.0),
        r"^theta: expected a number > 0, got 0\.0 \(the papers use 10,000\)",
    ),
    "ntk-factor": (
        lambda: frequencies.rope_scaling_ntk(THETA, factor=0),
        r"^factor: expected a number > 0, got 0 \(by which the context",
    ),
    "ntk-one": (
        lambda: frequencies.rope_scaling_ntk(THETA[:1], factor=2),
        r"^frequencies: expected at least 2, got 1 \(one is the highest and",
    ),
    "ntk-axes": (
        lambda: frequencies.rope_scaling_ntk(THETA[None], factor=2),
        r"^frequencies: expected shape \[P\], got \[1, 3\] \(",
    ),
    "parts-factor": (
        lambda: frequencies.rope_scaling_llama3(
            THETA, factor=-1, original_max_length=7
        ),
        r"^factor: expected a number > 0, got -1 \(",
    ),
    "parts-context": (
        lambda: frequencies.rope_scaling_llama3(THETA, factor=2, original_max_length=0),
        r"^original_max_length: expected a number of positions >= 1, got 0 \(the",
    ),
    "parts-high": (
        lambda: frequencies.rope_scaling_llama3(
            THETA, factor=2, original_max_length=7, low_freq_factor=4.0
        ),
        r"^high_freq_factor: expected more than low_freq_factor = 4\.0, got 4\.0 \(",
    ),
    "yarn-betas": (
        lambda: frequencies.rope_scaling_yarn(
            THETA, factor=2, original_max_length=7, beta_slow=40
        ),
        r"^beta_fast: expected more than beta_slow = 40, and both above 0, got 32\.0",
    ),
    "yarn-one": (
        lambda: frequencies.rope_scaling_yarn(
            THETA[:1], factor=2, original_max_length=7
        ),
        r"^frequencies: expected at least 2 that fall by one ratio, got 1: \[1\.\] \(",
    ),
    "yarn-uneven": (
        lambda: frequencies.rope_scaling_yarn(
            THETA**2 + THETA, factor=2, original_max_length=7
        ),
        r"^frequencies: expected at least 2 that fall by one ratio, got 3: \[",
    ),
    "yarn-context": (
        lambda: frequencies.rope_scaling_yarn(THETA, factor=2, original_max_length=0),
        r"^original_max_length: expected a number of positions >= 1, got 0 \(the",
    ),
    "attention-factor": (
        lambda: frequencies.yarn_attention_factor(0),
        r"^factor: expected a number > 0, got 0 \(",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_told_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_positions_are_integers():
    with pytest.raises(TypeError, match=r"^positions: expected int values, got f"):
        frequencies.angles(jnp.ones(3), THETA, dtype="float32")
