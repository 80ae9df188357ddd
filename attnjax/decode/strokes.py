"""Sampling of pen strokes: from a step function to lines of writing."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from attnjax.core._checks import broadcasting, check_below
from attnjax.core.mixtures import check_bias, pen_mixture, sample_pen

# (carry, point [B, 3]) -> carry, (outputs [B, 6*K + 1], weights [B, S])
PenStep = Callable[[Any, Array], tuple[Any, tuple[Array, Array]]]


class Strokes(NamedTuple):
    """Lines of pen points, each with the window that it was drawn under."""

    points: Float[Array, "B T 3"]  # dx, dy, end of stroke; 0 after the end
    lengths: Int[Array, "B"]  # number of points
    weights: Float[Array, "B T S"]  # 0 after the end
    finished: Bool[Array, "B"]  # whether the window came to the end of the text


class _Loop(NamedTuple):
    t: Array
    carry: Any
    x: Array
    strokes: Strokes


@broadcasting
def sample_strokes(
    rng: Array,
    step: PenStep,
    carry: Any,
    first: Float[Array, "B 3"],
    *,
    max_length: int,
    ends: Int[Array, "B"] | None = None,
    bias: float | Float[Array, "B"] = 0.0,
) -> Strokes:
    r"""Draws pen points one after another, each from the density that the last gives.

    A line stops when the window stands on the position after its last character more
    than on any character,

    .. math:: \phi(t, U + 1) > \phi(t, u) \quad \text{for all } u \le U

    and the point of that step is not drawn. The last point of a line ends a stroke.
    What is drawn in a row depends on `rng`, the row's index and its own inputs only.

    Source: Graves 2013 (arXiv:1308.0850), sections 5.3 to 5.5.

    Args:
      rng: one typed key.
      step: `(carry, point [B, 3]) -> carry, (outputs [B, 6*K + 1], weights [B, S])`.
      carry: the carry of the first step; every leaf has a leading axis B. For a primed
        line it has read all points of the prime but the last.
      first: the point that the first step takes: 0 where the pen touches the paper, or
        the last point of the prime.
      max_length: T, the most points of a line.
      ends: the position after the last character of each text, among the S of the
        weights, shape [B]. None: no line stops before `max_length`.
      bias: b of `pen_mixture`, for all rows or one per row.

    Returns:
      The points, without `first`.

    Raises:
      ValueError: if `max_length` is less than 1, a known bias is negative, or a known
        end is no position of the weights.

    Example:
      >>> step = lambda carry, x: (carry, (jnp.zeros((1, 7)), jnp.zeros((1, 0))))
      >>> drawn = sample_strokes(
      ...     jax.random.key(0), step, (), jnp.zeros((1, 3)), max_length=4
      ... )
      >>> drawn.points.shape, drawn.lengths.tolist(), drawn.finished.tolist()
      ((1, 4, 3), [4], [False])
    """
    if max_length < 1:
        raise ValueError(f"max_length: expected at least 1, got {max_length}")
    B, T = first.shape[0], max_length
    _, (outputs, weights) = jax.eval_shape(step, carry, first)
    check_bias(bias)
    if ends is not None:
        why = "a position after the text, of those that the weights have"
        check_below("ends", ends, weights.shape[1], why)
    dtype = jnp.promote_types(outputs.dtype, jnp.float32)
    biases = jnp.broadcast_to(jnp.asarray(bias, dtype), (B,))
    rngs = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(B))
    empty = _no_strokes(B, T, dtype, weights)

    def body(at: _Loop) -> _Loop:
        carry, (outputs, weights) = step(at.carry, at.x)
        drawn = jax.vmap(_draw, (0, None, 0, 0))(rngs, at.t, outputs, biases)
        strokes = at.strokes
        done = strokes.finished
        if ends is not None:
            done |= jax.vmap(_past_end)(weights, ends)
        going = ~done[:, None]
        return _Loop(
            at.t + 1,
            carry,
            drawn.astype(at.x.dtype),
            Strokes(
                strokes.points.at[:, at.t].set(jnp.where(going, drawn, 0)),
                strokes.lengths + going[:, 0].astype(jnp.int32),
                strokes.weights.at[:, at.t].set(jnp.where(going, weights, 0)),
                done,
            ),
        )

    def unfinished(at: _Loop) -> Array:
        return (at.t < T) & ~at.strokes.finished.all()

    start = _Loop(jnp.zeros((), jnp.int32), carry, first, empty)
    return _end_strokes(lax.while_loop(unfinished, body, start).strokes)


def _no_strokes(B: int, T: int, dtype: DTypeLike, weights: Any) -> Strokes:
    """Makes room for T points of each line; of `weights` a step has [B, S]."""
    return Strokes(
        jnp.zeros((B, T, 3), dtype),
        jnp.zeros(B, jnp.int32),
        jnp.zeros((B, T, weights.shape[1]), weights.dtype),
        jnp.zeros(B, bool),
    )


def _draw(rng: Array, t: Array, outputs: Array, bias: Array) -> Array:
    mixture = pen_mixture(outputs, bias=bias)
    return sample_pen(jax.random.fold_in(rng, t), mixture)


def _past_end(weights: Array, end: Array) -> Array:
    """Whether the weight at the end is the largest of those up to it: [S], [] -> []."""
    before = jnp.arange(weights.shape[0]) < end
    return weights[end] > jnp.max(jnp.where(before, weights, 0))


def _end_strokes(strokes: Strokes) -> Strokes:
    """Makes the last point of every line end a stroke."""
    T = strokes.points.shape[1]
    last = jnp.arange(T) == strokes.lengths[:, None] - 1
    points = strokes.points.at[:, :, 2].max(last.astype(strokes.points.dtype))
    return strokes._replace(points=points)
