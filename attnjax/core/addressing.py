"""Addressing of the Neural Turing Machine: where a head attends, and what it writes.

A head addresses a tape, the writable memory matrix [N, M], by content and by location:
content weights are mixed with the last weights, shifted and sharpened. The result is
attention weights like any others: a read is `context.read`. Every function is of one
head; heads and batches are `jax.vmap`.
"""

import functools
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnjax.core import precision, scores, weights
from attnjax.core._checks import shaped


@shaped
def content_weights(
    key: Float[Array, "M"],
    tape: Float[Array, "N M"],
    strength: Float[Array, ""],
    *,
    mask: Bool[Array, "N"] | None = None,
) -> Float[Array, "N"]:
    r"""Weighs rows of the tape by their similarity to a key.

    .. math:: w^c_i = \frac{\exp(\beta K[k, M_i])}{\sum_j \exp(\beta K[k, M_j])}

    with the cosine as K. A key, or a row, of zeros has similarity 0 to everything.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eqs. 5 and 6.

    Args:
      key: k, shape [M].
      tape: the memory matrix, shape [N, M].
      strength: beta, at least 0, shape []; 0 weighs all rows alike.
      mask: True = a row that may be attended to, shape [N]; None means all are.

    Returns:
      Weights that sum to 1, or are 0 where no row may be attended to, shape [N], in
      at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array, or `mask` not boolean.

    Example:
      >>> tape = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> content_weights(jnp.array([2.0, 0.0]), tape, jnp.array(50.0)).round(3)
      Array([1., 0.], dtype=float32)
    """
    matched = scores.cosine(key, tape)
    return weights.masked_softmax(strength.astype(matched.dtype) * matched, mask)


@shaped
def interpolate(
    gate: Float[Array, ""], content: Float[Array, "N"], previous: Float[Array, "N"]
) -> Float[Array, "N"]:
    r"""Mixes content weights with the weights of the last step.

    .. math:: w^g = g\, w^c + (1 - g)\, w_{t-1}

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eq. 7.

    Args:
      gate: g in [0, 1], shape []; 1 takes the content weights only.
      content: w^c, shape [N].
      previous: the head's weights at the last step, shape [N].

    Returns:
      Weights, shape [N], in the promoted dtype of the inputs.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> interpolate(jnp.array(0.25), jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
      Array([0.25, 0.75], dtype=float32)
    """
    dtype = precision.promoted(gate, content, previous)
    gate = gate.astype(dtype)
    return gate * content.astype(dtype) + (1 - gate) * previous.astype(dtype)


@shaped
def circular_shift(
    given: Float[Array, "N"],
    shift: Float[Array, "R"],
    *,
    mask: Bool[Array, "N"] | None = None,
) -> Float[Array, "N"]:
    r"""Moves weights along the tape, which wraps around, by a distribution of steps.

    .. math:: \tilde w_i = \sum_j w_j\, s(i - j)

    with indices modulo N. The middle of `shift` is a step of 0, the element after it a
    step of +1: from row i to row i + 1. On a tape of fewer than R rows, steps that end
    in one row add up. With a mask, only its rows are counted: from the last of them it
    is one step to the first.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eq. 8.

    Args:
      given: w, shape [N].
      shift: s, the probability of each step from -(R - 1) / 2 to (R - 1) / 2, shape
        [R]; R is odd.
      mask: True = a row of the tape, shape [N]; None means all are. Other rows get 0.

    Returns:
      Weights, shape [N], in the promoted dtype of the inputs.

    Raises:
      ValueError: if a shape disagrees with the letters above, or R is even.
      TypeError: if an argument is not a floating-point array, or `mask` not boolean.

    Example:
      >>> circular_shift(jnp.array([0.0, 0.0, 1.0]), jnp.array([0.0, 0.1, 0.9]))
      Array([0.9, 0. , 0.1], dtype=float32)
    """
    R = shift.shape[0]
    if R % 2 == 0:
        raise ValueError(
            f"shift: expected an odd number of steps R, got {R} (as many back as "
            "forward, and the step of 0)"
        )
    dtype = precision.promoted(given, shift)
    shift = shift.astype(dtype)
    if mask is None:
        move = partial(jnp.roll, given.astype(dtype))
    else:
        move = partial(_roll_rows, given.astype(dtype), mask)
    moved = [shift[r] * move(r - R // 2) for r in range(R)]
    return functools.reduce(jnp.add, moved)


@shaped
def sharpen(given: Float[Array, "N"], exponent: Float[Array, ""]) -> Float[Array, "N"]:
    r"""Sharpens weights, against the blur of repeated shifts.

    .. math:: w_i = \frac{\tilde w_i^\gamma}{\sum_j \tilde w_j^\gamma}

    It is a softmax of gamma log w, so that weights near 0 with a large exponent neither
    underflow nor divide by 0. A weight of exactly 0 stays 0 and has no gradient.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eq. 9.

    Args:
      given: weights, at least 0, shape [N].
      exponent: gamma, at least 1, shape [].

    Returns:
      Weights that sum to 1, or are 0 where all are, shape [N], in at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> sharpen(jnp.array([0.25, 0.5, 0.25]), jnp.array(2.0))  # doctest: +ELLIPSIS
      Array([0.166..., 0.666..., 0.166...], dtype=float32)
    """
    upcast = precision.upcast(given)
    positive = upcast > 0
    logarithm = jnp.log(jnp.where(positive, upcast, 1))
    return weights.masked_softmax(exponent.astype(upcast.dtype) * logarithm, positive)


@shaped
def address(
    tape: Float[Array, "N M"],
    previous: Float[Array, "N"],
    *,
    key: Float[Array, "M"],
    strength: Float[Array, ""],
    gate: Float[Array, ""],
    shift: Float[Array, "R"],
    exponent: Float[Array, ""],
    mask: Bool[Array, "N"] | None = None,
) -> Float[Array, "N"]:
    """Computes where a head attends: by content, interpolated, shifted, sharpened.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), figure 2 and eqs. 5 to 9.

    Args:
      tape: the memory matrix, shape [N, M].
      previous: the head's weights at the last step, shape [N].
      key: as of `content_weights`.
      strength: as of `content_weights`.
      gate: as of `interpolate`.
      shift: as of `circular_shift`.
      exponent: as of `sharpen`.
      mask: True = a row of the tape, shape [N]; None means all are.

    Returns:
      Weights that sum to 1, or are 0 where the tape has no row, shape [N], in at least
      float32.

    Raises:
      ValueError: if a shape disagrees with the letters above, or R is even.
      TypeError: if an argument is not a floating-point array, or `mask` not boolean.

    Example:
      >>> tape, last = jnp.eye(3), jnp.array([1.0, 0.0, 0.0])
      >>> one, zero = jnp.array(1.0), jnp.array(0.0)
      >>> step = jnp.array([0.0, 0.0, 1.0])  # from one row to the next
      >>> address(tape, last, key=tape[2], strength=one, gate=zero, shift=step,
      ...         exponent=one)
      Array([0., 1., 0.], dtype=float32)
    """
    content = content_weights(key, tape, strength, mask=mask)
    mixed = interpolate(gate, content, previous)
    return sharpen(circular_shift(mixed, shift, mask=mask), exponent)


@shaped
def erase_tape(
    tape: Float[Array, "N M"], given: Float[Array, "N"], vector: Float[Array, "M"]
) -> Float[Array, "N M"]:
    r"""Erases rows of the tape, each by the weight that it has.

    .. math:: \tilde M_i = M_i \circ (1 - w_i e)

    The erasures of several heads commute, and all come before anything is added.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eq. 3.

    Args:
      tape: the memory matrix, shape [N, M].
      given: w, the head's weights, shape [N].
      vector: e, in [0, 1], shape [M].

    Returns:
      The tape, shape [N, M], in its own dtype.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> erase_tape(jnp.ones((2, 2)), jnp.array([1.0, 0.0]), jnp.array([1.0, 0.5]))
      Array([[0. , 0.5],
             [1. , 1. ]], dtype=float32)
    """
    return (tape.T * (1 - _outer(vector, given, tape))).T  # [M, N] -> [N, M]


@shaped
def add_to_tape(
    tape: Float[Array, "N M"], given: Float[Array, "N"], vector: Float[Array, "M"]
) -> Float[Array, "N M"]:
    r"""Adds a vector to rows of the tape, to each by the weight that it has.

    .. math:: M_i = \tilde M_i + w_i a

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eq. 4.

    Args:
      tape: the memory matrix, after all erasures, shape [N, M].
      given: w, the head's weights, shape [N].
      vector: a, shape [M].

    Returns:
      The tape, shape [N, M], in its own dtype.

    Raises:
      ValueError: if a shape disagrees with the letters above.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> add_to_tape(jnp.zeros((2, 2)), jnp.array([1.0, 0.5]), jnp.array([4.0, 2.0]))
      Array([[4., 2.],
             [2., 1.]], dtype=float32)
    """
    return (tape.T + _outer(vector, given, tape)).T  # [M, N] -> [N, M]


def _outer(given: Array, vector: Array, tape: Array) -> Array:
    """The outer product [N, M] of weights and a vector, in the dtype of the tape."""
    # As a product of matrices, since its gradients are products too, which XLA:CPU
    # computes in half the time of sums: [N] -> [N, 1]; [M] -> [1, M].
    return precision.matmul(
        given.astype(tape.dtype)[:, None], vector.astype(tape.dtype)[None, :]
    )


def _roll_rows(given: Array, mask: Array, step: int) -> Array:
    """`jnp.roll` of the elements of the mask; the others are 0: [N] -> [N]."""
    rank = jnp.cumsum(mask, dtype=jnp.int32) - 1  # of each row among those of the mask
    count = jnp.maximum(jnp.sum(mask, dtype=jnp.int32), 1)
    row_of_rank = jnp.argsort(~mask, stable=True)
    source = row_of_rank[(rank - step) % count]
    return jnp.where(mask, given[source], 0)
