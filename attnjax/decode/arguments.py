"""Checks of arguments that all decoders share, and their error messages."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from attnjax.core._checks import static_int


def check_scalar(
    name: str, value: Any, valid: Callable[[Any], bool], expected: str, hint: str
) -> None:
    """Checks a number; of a JAX array, which may be traced, only the shape."""
    if jnp.ndim(value) != 0:
        raise ValueError(
            f"{name}: expected one number, got shape {list(jnp.shape(value))} "
            "(it is the same for all rows)"
        )
    if isinstance(value, int | float | np.generic) and not valid(value):
        raise ValueError(f"{name}: expected {expected}, got {value} ({hint})")


def row_limits(
    name: str, limit: int | Int[Array, "B"], positions: int | None, B: int
) -> tuple[Int[Array, "B"], int]:
    """Reads a limit on lengths: one for all rows, or one for each.

    Args:
      name: of the limit.
      limit: the limit or the limits.
      positions: the argument `max_decode_length`; None takes a limit for all rows.
      B: number of rows.

    Returns:
      The limit of every row, and the static number of positions.
    """
    if jnp.ndim(limit) == 0:
        longest = static_int(name, limit, 1)
        T = longest
        if positions is not None:
            T = static_int("max_decode_length", positions, 1)
        return jnp.full(B, min(longest, T), jnp.int32), T
    if positions is None:
        raise ValueError(
            f"max_decode_length: expected an int where {name} is an array, got None "
            "(shapes are static, so an array cannot set the number of positions)"
        )
    T = static_int("max_decode_length", positions, 1)
    hint = "one length per row, or one int for all"
    return jnp.clip(int32_array(name, limit, (B,), hint), 0, T), T


def int32_array(
    name: str, value: Any, axes: tuple[int | str, ...], hint: str
) -> Int[Array, "..."]:
    """Returns `value` as an int32 array of this shape; a letter stands for any size."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name}: expected int values, got {array.dtype} (use astype)")
    check_shape(name, array.shape, axes, hint)
    return array.astype(jnp.int32)


def check_shape(
    name: str, shape: tuple[int, ...], axes: tuple[int | str, ...], hint: str
) -> None:
    """Checks an array's shape against sizes, or letters for any size."""
    matches = len(shape) == len(axes) and all(
        isinstance(axis, str) or axis == size
        for axis, size in zip(axes, shape, strict=True)
    )
    if not matches:
        raise ValueError(
            f"{name}: expected shape [{', '.join(map(str, axes))}], "
            f"got {list(shape)} ({hint})"
        )
