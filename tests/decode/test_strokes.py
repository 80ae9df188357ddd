"""Sampling of strokes: the stop rule, rows apart, bias, and the density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.decode import sample_strokes

pytestmark = pytest.mark.versions

B, T, S = 3, 11, 7
ENDS = np.array([2, 4, 3])  # the position after the last character of each text
SPEED = np.array([1.0, 0.5, 0.25])


def window_step(carry, x):
    """A window that moves to the right, and stands still if the pen last went up."""
    t, speed = carry
    at = t * speed
    weights = jnp.exp(-((jnp.arange(S, dtype=x.dtype) - at[:, None]) ** 2) * 4.0)
    outputs = jnp.concatenate([x, x, x[:, :1]], axis=1) * 0.1  # [B, 7]
    return (t + 1, speed), (outputs, weights)


def start(rows=slice(None)):
    speed = jnp.asarray(SPEED[rows], jnp.float32)
    return jnp.zeros_like(speed), speed


def draw(rng, rows=slice(None), *, ends=ENDS, max_length=T, bias=0.0):
    first = jnp.zeros((len(SPEED[rows]), 3))
    ends = None if ends is None else jnp.asarray(ends[rows])
    return sample_strokes(
        rng,
        window_step,
        start(rows),
        first,
        max_length=max_length,
        ends=ends,
        bias=bias,
    )


def test_each_line_stops_at_its_own_end(rng):
    drawn = draw(rng)
    # The first step whose window is nearer to the end than to the character before.
    want = [
        int(np.floor((end - 0.5) / v)) + 1 for end, v in zip(ENDS, SPEED, strict=True)
    ]
    want[2] = T  # cut off before its window comes to the end
    assert drawn.lengths.tolist() == want
    assert drawn.finished.tolist() == [True, True, False]
    for row, length in enumerate(want):
        assert not drawn.points[row, length:].any()
        assert not drawn.weights[row, length:].any()
        assert drawn.points[row, :length, :2].all()
        assert drawn.points[row, length - 1, 2] == 1  # it ends a stroke


def test_the_window_of_the_last_point_is_still_on_the_text(rng):
    drawn = draw(rng)
    for row in range(2):
        under = drawn.weights[row, : drawn.lengths[row]].argmax(axis=1)
        assert under.max() == ENDS[row] - 1


def test_weight_behind_the_end_stops_nothing(rng):
    """Padding is no character, and none of its weight counts."""

    def step(carry, x):
        weights = jnp.tile(jnp.arange(S, dtype=x.dtype), (B, 1)).at[:, 1].set(5.0)
        return carry, (jnp.zeros((B, 7)), weights)

    ends = jnp.array([2, 4, 6])  # weights of 2, 4 and 6 against 5
    drawn = sample_strokes(rng, step, (), jnp.zeros((B, 3)), max_length=T, ends=ends)
    assert drawn.finished.tolist() == [False, False, True]
    assert drawn.lengths.tolist() == [T, T, 0]


def test_without_a_text_every_line_goes_on_to_the_cap(rng):
    drawn = draw(rng, ends=None)
    assert drawn.lengths.tolist() == [T] * B
    assert not drawn.finished.any()


def test_a_line_depends_on_its_own_row_only(rng):
    whole, first = draw(rng), draw(rng, slice(0, 1))
    np.testing.assert_array_equal(whole.points[0], first.points[0])
    longer = draw(rng, max_length=T + 2)
    np.testing.assert_array_equal(longer.points[:2, :T], whole.points[:2])
    assert not np.array_equal(whole.points[0, :2], whole.points[1, :2])


def test_the_next_step_takes_the_point_that_was_drawn(rng):
    """The density of each point depends on the last one, in `window_step`."""

    def step(carry, x):
        return carry, (jnp.pad(x[:, :1] * 0, ((0, 0), (0, 6))), x)

    drawn = sample_strokes(rng, step, (), jnp.full((2, 3), 7.0), max_length=5)
    np.testing.assert_array_equal(drawn.weights[:, 0], np.full((2, 3), 7.0))
    # Apart from the end of the stroke that closes the line.
    np.testing.assert_array_equal(drawn.weights[:, 1:], drawn.points[:, :-1])


def test_a_bias_for_each_line(rng):
    wide = jnp.zeros((B, 7)).at[:, 4:6].set(2.0)
    drawn = sample_strokes(
        rng,
        lambda carry, x: (carry, (wide, jnp.zeros((B, 0)))),
        (),
        jnp.zeros((B, 3)),
        max_length=200,
        bias=jnp.array([0.0, 2.0, 4.0]),
    )
    spread = drawn.points[..., :2].std(axis=(1, 2))
    np.testing.assert_allclose(spread, np.exp([2.0, 0.0, -2.0]), rtol=0.15)


def test_it_compiles_once_for_all_ends(rng):
    traced = []

    @jax.jit
    def write(ends):
        traced.append(None)
        return sample_strokes(
            rng, window_step, start(), jnp.zeros((B, 3)), max_length=T, ends=ends
        )

    np.testing.assert_array_equal(write(jnp.asarray(ENDS)).points, draw(rng).points)
    write(jnp.asarray(ENDS) + 1)
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "max_length: expected at least 1, got 0"),
        ({"bias": -0.5}, r"bias: expected at least 0, got -0\.5 \("),
        ({"ends": ENDS + 4}, "ends: expected numbers below 7, got 8"),
    ],
)
def test_what_no_line_can_have_is_refused(options, message, rng):
    with pytest.raises(ValueError, match=f"^{message}"):
        draw(rng, **options)
