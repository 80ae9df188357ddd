"""Checks of arguments that all decoders share, and their error messages."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


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
