"""Checks of arguments, and their error messages."""

import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


def check_int(
    name: str, value: Any, least: int, most: int | None = None, what: str = ""
) -> int:
    """Returns `value` as an int between `least` and `most`."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name}: expected a Python int, got {type(value).__name__} "
            "(it is static: bind it outside jax.jit)"
        ) from None
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{name}: expected at most {most} ({what}), got {value}")
    return value


def check_number(
    name: str, value: Any, fits: Callable[[Any], bool], expected: str, hint: str
) -> None:
    """Checks a number; of a traced array, whose value is unknown, only the shape."""
    if jnp.ndim(value) != 0:
        raise ValueError(
            f"{name}: expected one number, got shape {list(jnp.shape(value))} "
            "(it is the same for all rows)"
        )
    if isinstance(value, int | float | np.generic) and not fits(value):
        raise ValueError(f"{name}: expected {expected}, got {value} ({hint})")


def as_int_array(
    name: str, value: Any, axes: tuple[int | str, ...], hint: str
) -> Int[Array, "..."]:
    """Returns `value` as an int32 array with these axes; a letter is of any size."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name}: expected int values, got {array.dtype} (use astype)")
    check_shape(name, array.shape, axes, hint)
    return array.astype(jnp.int32)


def check_shape(
    name: str, shape: tuple[int, ...], axes: tuple[int | str, ...], hint: str
) -> None:
    """Checks an array's shape against sizes, or letters for any size."""
    fits = len(shape) == len(axes) and all(
        isinstance(axis, str) or axis == size
        for axis, size in zip(axes, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{name}: expected shape [{', '.join(map(str, axes))}], "
            f"got {list(shape)} ({hint})"
        )
