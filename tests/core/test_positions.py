"""Positions: laws of what is told to vectors, then the papers' loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import frequencies, positions
from attnjax.core.attend import attend_heads
from attnjax.core.masks import causal
from tests import oracle_positions as oracles
from tests.conftest import TOLERANCE
from tests.core.cases import draw
from tests.oracles import numerical_gradient

B, T, H, D, L = 2, 5, 3, 14, 23
F32 = TOLERANCE["float32"]
TABLE = draw(0, L, D)
PLACES = np.array([[0, 3, 1, 22, 7], [4, 0, 19, 2, 11]])
PARTIAL = frequencies.rope_frequencies(6)  # of 14 components

# vectors [*B, D], positions [*B] -> vectors that know their positions
PLACED = {
    "sinusoidal": lambda x, t: x + positions.sinusoidal(t, D, dtype=x.dtype),
    "learned": lambda x, t: x + positions.learned(jnp.asarray(TABLE, x.dtype), t),
    "rope": positions.apply_rope,
    "rope-pairs": lambda x, t: positions.apply_rope(x, t, interleaved=True),
    "rope-part": lambda x, t: positions.apply_rope(x, t, frequencies=PARTIAL),
}
each = pytest.mark.parametrize("place", PLACED.values(), ids=PLACED)
layouts = pytest.mark.parametrize("interleaved", [False, True])


def vectors(dtype="float32"):
    return jnp.asarray(draw(1, B, T, D), dtype), jnp.asarray(PLACES)


def x64(function, *arrays):
    with jax.enable_x64(True):
        return np.asarray(function(*map(jnp.asarray, arrays)))


# --- laws ---------------------------------------------------------------------


@each
def test_chunks_are_the_whole(place):
    """What prefill gives at once, decoding gives token by token."""
    x, t = vectors()
    whole = place(x, t)
    for i in range(T):
        step = slice(i, i + 1)
        np.testing.assert_allclose(place(x[:, step], t[:, step]), whole[:, step], F32)


@each
def test_leading_axes_are_vmap_and_scan(place):
    x, t = vectors()
    mapped = jax.vmap(jax.vmap(place))(x, t)
    _, scanned = jax.lax.scan(lambda c, xt: (c, place(*xt)), None, (x, t))
    want = place(x, t)
    np.testing.assert_allclose(mapped, want, F32, 1e-6)
    np.testing.assert_allclose(scanned, want, F32, 1e-6)


@each
def test_new_positions_do_not_recompile(place):
    x, t = vectors()
    jitted = jax.jit(place)
    np.testing.assert_allclose(jitted(x, t), place(x, t), F32, 1e-6)
    jitted(-x, t + 1)
    assert jitted._cache_size() == 1


@each
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_the_dtype_of_the_vectors_is_kept(place, dtype):
    with jax.enable_x64(True):
        x, t = vectors(dtype)
        assert place(x, t).dtype == dtype


@each
def test_narrow_vectors_are_rounded_wide_ones(place):
    x, t = vectors("bfloat16")
    got, want = place(x, t), place(x.astype("float32"), t)
    # Of the sum and of what is added: both below 4.
    np.testing.assert_allclose(got.astype("float32"), want, atol=2 * 4 * 2**-9)


@each
def test_the_gradient_is_the_finite_difference(place):
    x, t = draw(1, T, D), PLACES[0]
    along = draw(2, T, D)

    def objective(x):
        return (place(jnp.asarray(x), t) ** 2 * along).sum()

    with jax.enable_x64(True):
        got = jax.grad(objective)(jnp.asarray(x))
        want = numerical_gradient(lambda x: float(objective(x)), x)
    np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-8)


# --- sinusoidal ---------------------------------------------------------------


@pytest.mark.parametrize("base", [10_000.0, 7.0])
def test_sinusoids_are_the_papers(base):
    with jax.enable_x64(True):
        got = positions.sinusoidal(PLACES, D, base=base, dtype="float64")
    want = [[oracles.sinusoidal(t, D, base) for t in row] for row in PLACES]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def test_sinusoids_keep_their_place_far_out():
    far = jnp.array([99_991, 131_071])
    want = [oracles.sinusoidal(int(t), 128) for t in far]
    np.testing.assert_allclose(positions.sinusoidal(far, 128), want, atol=2e-4)


def test_a_step_of_sinusoids_is_one_linear_map():
    """Vaswani 2017, 3.5: PE(t + k) is a linear function of PE(t), whatever t."""
    with jax.enable_x64(True):
        here, there = (
            np.asarray(positions.sinusoidal(jnp.arange(29) + k, D, dtype="float64"))
            for k in (0, 5)
        )
    step, *_ = np.linalg.lstsq(here, there)
    np.testing.assert_allclose(here @ step, there, atol=1e-10)


# --- learned ------------------------------------------------------------------


def test_a_learned_position_is_a_row():
    got = x64(positions.learned, TABLE, PLACES)
    np.testing.assert_array_equal(got, TABLE[PLACES])


def test_padding_says_nothing_and_learns_nothing():
    table, outside = jnp.asarray(TABLE, "float32"), [-1, -L, -(2**31)]
    t = jnp.array([2, *outside, 2])
    with jax.debug_nans(True):
        got = positions.learned(table, t)
        gradient = jax.grad(lambda table: positions.learned(table, t).sum())(table)
    assert (got[1:-1] == 0).all()
    np.testing.assert_array_equal(got[0], table[2])
    want = np.zeros((L, D))
    want[2] = 2  # read twice
    np.testing.assert_array_equal(gradient, want)


@pytest.mark.parametrize("beyond", [L, L + 1, 2**31 - 1])
def test_a_position_beyond_the_table_is_an_error_or_nan(beyond):
    table, t = jnp.asarray(TABLE, "float32"), jnp.array([0, beyond])
    with pytest.raises(ValueError, match=rf"^positions: .* below {L}, got {beyond} \("):
        positions.learned(table, t)
    got = jax.jit(positions.learned)(table, t)
    np.testing.assert_array_equal(got[0], table[0])
    assert np.isnan(got[1]).all()


# --- rotary -------------------------------------------------------------------


@layouts
@pytest.mark.parametrize("theta", [None, PARTIAL, frequencies.rope_frequencies(2)])
def test_rotations_are_the_papers_matrix(interleaved, theta):
    x = draw(3, B, T, D)
    got = x64(
        lambda x, t: positions.apply_rope(
            x, t, frequencies=theta, interleaved=interleaved, theta=50.0
        ),
        x,
        PLACES,
    )
    theta = oracles.frequencies(D, 50.0) if theta is None else theta
    for place in np.ndindex(B, T):
        want = oracles.apply_rope(x[place], PLACES[place], theta, interleaved)
        np.testing.assert_allclose(got[place], want, rtol=1e-12, atol=1e-13)


@layouts
@pytest.mark.parametrize("shift", [1, 17, 10_007])
def test_inner_products_depend_on_the_distance_only(interleaved, shift):
    q, k = draw(4, T, D), draw(5, T, D)

    def scores(t):
        a, b = (positions.apply_rope(x, t, interleaved=interleaved) for x in (q, k))
        return a @ b.T

    with jax.enable_x64(True):
        q, k, t = jnp.asarray(q), jnp.asarray(k), jnp.asarray(PLACES[0])
        got, want = scores(t + shift), scores(t)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


def test_the_distance_still_shows_far_out():
    """In float32, 100,000 tokens into a text."""
    q, k = jnp.asarray(draw(6, 128), "float32"), jnp.asarray(draw(7, 128), "float32")

    def score(t):
        return positions.apply_rope(q, t + 3) @ positions.apply_rope(k, t)

    # Each angle is at most 2e-4 off, in each of two vectors.
    error = 4e-4 * jnp.linalg.norm(q) * jnp.linalg.norm(k)
    np.testing.assert_allclose(score(jnp.array(100_003)), score(jnp.array(0)), 0, error)


@layouts
def test_rope_keeps_lengths_and_has_an_inverse(interleaved):
    x, t = vectors()
    rotated = positions.apply_rope(x, t, interleaved=interleaved)
    norms = [np.linalg.norm(v, axis=-1) for v in (rotated, x)]
    np.testing.assert_allclose(*norms, rtol=F32)
    back = positions.apply_rope(rotated, -t, interleaved=interleaved)
    np.testing.assert_allclose(back, x, F32, 1e-6)


@layouts
def test_position_0_is_left_as_it_is(interleaved):
    x, t = vectors()
    got = positions.apply_rope(x, 0 * t, interleaved=interleaved)
    np.testing.assert_array_equal(got, x)


def test_the_two_layouts_are_one_up_to_order():
    x, t = vectors()
    halves_first = np.concatenate([np.arange(0, D, 2), np.arange(1, D, 2)])
    got = positions.apply_rope(x, t, interleaved=True)[..., halves_first]
    want = positions.apply_rope(x[..., halves_first], t)
    np.testing.assert_array_equal(got, want)


@layouts
def test_components_without_a_frequency_are_unchanged(interleaved):
    x, t = vectors()
    got = positions.apply_rope(x, t, frequencies=PARTIAL, interleaved=interleaved)
    np.testing.assert_array_equal(got[..., 6:], x[..., 6:])
    want = positions.apply_rope(x[..., :6], t, interleaved=interleaved)
    np.testing.assert_array_equal(got[..., :6], want)


@layouts
def test_heads_share_positions(interleaved):
    x = jnp.asarray(draw(8, B, T, H, D), "float32")
    got = positions.apply_rope(x, PLACES, interleaved=interleaved)
    for h in range(H):
        want = positions.apply_rope(x[:, :, h], PLACES, interleaved=interleaved)
        np.testing.assert_allclose(got[:, :, h], want, F32, 1e-6)
    explicit = positions.apply_rope(x, PLACES[..., None], interleaved=interleaved)
    np.testing.assert_array_equal(explicit, got)
    same = positions.apply_rope(x, PLACES[:1], interleaved=interleaved)
    np.testing.assert_array_equal(same[0], got[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_attention_factor_multiplies_what_is_rotated(dtype):
    x, t = jnp.asarray(draw(0, 5, D), dtype), jnp.arange(5)
    got = positions.apply_rope(x, t, frequencies=PARTIAL, attention_factor=1.25)
    want = positions.apply_rope(x, t, frequencies=PARTIAL)
    assert got.dtype == want.dtype == dtype
    np.testing.assert_allclose(
        jnp.float32(got[:, :6]), 1.25 * jnp.float32(want[:, :6]), TOLERANCE[dtype]
    )
    np.testing.assert_array_equal(got[:, 6:], x[:, 6:])


def test_positions_closer_together_are_slower_frequencies():
    """Chen 2023, eq. 4: interpolation reads position t of a longer text at t / 4."""
    x, t = vectors()
    slower = frequencies.rope_frequencies(D) / 4
    got = positions.apply_rope(x, 4 * t, frequencies=slower)
    np.testing.assert_allclose(got, positions.apply_rope(x, t), F32, 1e-5)


def test_cached_decoding_is_training():
    """Keys rotated before they are cached serve later queries."""
    q, k, v = (jnp.asarray(draw(9 + i, 1, T, H, D), "float32") for i in range(3))
    t = jnp.arange(T)[None]

    def read(q, t_q, rotated):
        mask = causal(t_q, t)[:, None]
        rotated_q = positions.apply_rope(q, t_q)
        return attend_heads(rotated_q, rotated, v, mask=mask).context

    whole = read(q, t, positions.apply_rope(k, t))
    cache = jnp.zeros_like(k)
    for i in range(T):
        now = slice(i, i + 1)
        cache = cache.at[:, now].set(positions.apply_rope(k[:, now], t[:, now]))
        step = read(q[:, now], t[:, now], cache)
        np.testing.assert_allclose(step, whole[:, now], F32, 1e-6)


# --- error text ---------------------------------------------------------------

X = jnp.ones((B, T, H, D))
BAD = {
    "sinusoidal-odd": (
        lambda: positions.sinusoidal(PLACES, 7),
        r"^width: expected an even number >= 2, got 7 \(positions are pairs",
    ),
    "sinusoidal-base": (
        lambda: positions.sinusoidal(PLACES, 4, base=-1.0),
        r"^base: expected a number > 0, got -1\.0 \(",
    ),
    "learned-table": (
        lambda: positions.learned(jnp.ones(L), PLACES),
        r"^table: expected shape \[L, M\], got \[23\] \(an axis is missing\)",
    ),
    "rope-odd": (
        lambda: positions.apply_rope(X[..., 1:], PLACES),
        r"^head_dim: expected an even number >= 2, got 13 \(",
    ),
    "rope-frequencies": (
        lambda: positions.apply_rope(X, PLACES, frequencies=np.ones(8)),
        r"^frequencies: expected at most D / 2 = 7 of them, got 8 \(each rotates two",
    ),
    "rope-positions": (
        lambda: positions.apply_rope(X, PLACES[0]),
        r"^positions: expected the first axes of x, of \[2, 5, 3\], got \[5\] \(leave "
        r"out the axis of heads; 1 where one is shared\)",
    ),
    "rope-rank": (
        lambda: positions.apply_rope(X[0, 0, 0], PLACES[0, :1]),
        r"^positions: expected the first axes of x, of \[\], got \[1\] \(",
    ),
    "rope-scalar": (
        lambda: positions.apply_rope(jnp.array(1.0), jnp.array(1)),
        r"^x: expected shape \[\.\.\., D\], got \[\] \(an axis is missing\)",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_told_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@each
def test_positions_are_integers(place):
    x, t = vectors()
    with pytest.raises(TypeError, match=r"^positions: expected int values, got f"):
        place(x, t.astype("float32"))
