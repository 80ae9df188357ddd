"""Numbers of frames, labels and steps that are real; what is behind them is padding."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from attnjax.core._checks import known_value, static_int

Count = Array | int | None


def count(name: str, given: Count, size: int) -> tuple[Array, Array]:
    """Reads a count, which None leaves at the size of the axis.

    Returns:
      The count, from 0 to `size`, and whether it was in this range: False only where
      the value is not known while a program is traced.

    Raises:
      ValueError: if it is known to be out of range, or no scalar.
      TypeError: if it is no integer.
    """
    number = jnp.asarray(size if given is None else given)
    if not jnp.issubdtype(number.dtype, jnp.integer):
        raise TypeError(f"{name}: expected an integer, got {number.dtype}")
    if number.ndim:
        raise ValueError(
            f"{name}: expected one number, got shape {list(number.shape)} (a batch? "
            "wrap the call in jax.vmap)"
        )
    number = _at_least_int32(number)
    known = known_value(number)
    if known is not None and not 0 <= known <= size:
        raise ValueError(
            f"{name}: expected a number from 0 to {size}, got {known} (the size of its "
            "axis is the most)"
        )
    inside = (number >= 0) & (number <= size)
    return jnp.clip(number, 0, size).astype(jnp.int32), inside


def _at_least_int32(x: Array) -> Array:
    """Widens integers of 8 and 16 bits, in which an axis's size may wrap around."""
    return x.astype(jnp.int32) if x.dtype.itemsize < 4 else x


def or_nan(valid: Array, x: Array) -> Array:
    """Makes `x`, and its gradient, NaN where an argument was not valid."""
    return x * jnp.where(valid, jnp.ones((), x.dtype), jnp.nan)


def check_labels(
    labels: Any, V: int, blank: int, num_labels: Array
) -> tuple[Array, Array]:
    """Checks labels [U] against an alphabet of V whose id `blank` is no label.

    Returns:
      The labels, 0 where they are padding, and whether all are valid: False only where
      their values are not known while a program is traced.

    Raises:
      ValueError: naming a label that is known to be wrong; or the blank, if it is.
    """
    blank = static_int("blank", blank, 0, V - 1, "the last id")
    labels = _at_least_int32(jnp.asarray(labels))
    real = jnp.arange(labels.shape[0], dtype=jnp.int32) < num_labels
    wrong = real & ((labels < 0) | (labels >= V) | (labels == blank))
    known, where = known_value(labels), known_value(wrong)
    if known is not None and where is not None and where.any():
        raise ValueError(
            f"labels: expected ids from 0 to {V - 1} other than the blank ({blank}), "
            f"got {known[where][0]}"
        )
    return jnp.where(real & ~wrong, labels, 0).astype(jnp.int32), ~jnp.any(wrong)
