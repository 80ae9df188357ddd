"""Shape and dtype checks read from annotations.

`@shaped` turns `query: Float[Array, "A"]` into the error message that a user
needs. It runs at trace time only, so it costs nothing in a compiled program.
"""

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import AbstractArray, Array, Int

F = TypeVar("F", bound=Callable[..., Any])

_KINDS: dict[str, Any] = {"Float": jnp.floating, "Int": jnp.integer, "Bool": jnp.bool_}


def shaped(function: F) -> F:
    """Checks the array arguments of `function` against its annotations.

    Letters bind across arguments and into the fields of NamedTuples; `*B` binds
    any leading axes; `...` matches any. Other annotations are left alone.

    Raises (from the decorated function):
      ValueError: if a shape disagrees with the letters.
      TypeError: if an argument is no array, or of another kind of dtype.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        sizes: dict[str, Any] = {}
        arguments = signature.bind(*args, **kwargs).arguments
        for name, value in arguments.items():
            parameter = signature.parameters[name]
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                _check(name, value, parameter.annotation, sizes)
        with jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return typing.cast(F, checked)


def broadcasting(function: F) -> F:
    """Lets a function broadcast arrays of different ranks, whatever JAX's setting.

    The library means it where it adds a bias [N] to [B, T, N]. Users who set
    `jax_numpy_rank_promotion` to "raise" check their own code. `shaped` does it too.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return typing.cast(F, call)


def check_ids(name: str, ids: Any, vocab: int) -> None:
    """Checks that ids are rows of a table; values that are not known yet pass.

    Inside `jax.jit` an id has no value, and one that is out of range reads the nearest
    row.

    Raises:
      ValueError: naming an id that is out of range.
      TypeError: if ids are no integers.
    """
    _check_dtype(name, ids, Int[Array, "..."])
    known = known_value(ids)
    if known is None:
        return
    wrong = known[(known < 0) | (known >= vocab)]
    if wrong.size:
        raise ValueError(
            f"{name}: expected ids from 0 to {vocab - 1}, got {wrong[0]} (was it "
            "another tokeniser that made them?)"
        )


def check_below(name: str, numbers: Any, limit: int, why: str) -> None:
    """Checks that numbers are below a limit; those that are not known yet pass.

    Raises:
      ValueError: naming the largest, if it is too large.
    """
    known = known_value(numbers)
    if known is not None and known.size and known.max() >= limit:
        raise ValueError(
            f"{name}: expected numbers below {limit}, got {known.max()} ({why})"
        )


def static_int(
    name: str, value: Any, least: int, most: int | None = None, limit: str = ""
) -> int:
    """Returns `value` as a Python int between `least` and `most`, named by `limit`.

    Raises:
      ValueError: if it is out of range.
      TypeError: if it is no integer, or not known while a program is traced.
    """
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
        raise ValueError(f"{name}: expected at most {most} ({limit}), got {value}")
    return value


def known_value(x: Any) -> np.ndarray | None:
    """The value of an array; None while a program is traced, or on other processes."""
    if isinstance(x, jax.core.Tracer):
        return None
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return None
    return np.asarray(x)


def _check(name: str, value: Any, annotation: Any, sizes: dict[str, Any]) -> None:
    """Checks one argument; recurses into unions with None and NamedTuples."""
    if isinstance(annotation, types.UnionType) or (
        typing.get_origin(annotation) is typing.Union
    ):
        if value is None:
            return
        options = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(options) == 1:
            _check(name, value, options[0], sizes)
    elif isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        _check_dtype(name, value, annotation)
        _check_shape(name, value.shape, annotation.dim_str, sizes)
    elif isinstance(annotation, type) and hasattr(annotation, "_fields"):
        for field, of in typing.get_type_hints(annotation).items():
            if not hasattr(value, field):
                raise TypeError(
                    f"{name}: expected {annotation.__name__}, "
                    f"got {type(value).__name__} (it has no field {field!r})"
                )
            _check(f"{name}.{field}", getattr(value, field), of, sizes)


def _check_dtype(name: str, value: Any, annotation: Any) -> None:
    kind = annotation.__name__.partition("[")[0]
    if not hasattr(value, "dtype"):
        raise TypeError(
            f"{name}: expected an array, got {type(value).__name__} "
            "(wrap it in jnp.asarray)"
        )
    wanted = _KINDS.get(kind)
    if wanted is None or jax.dtypes.issubdtype(value.dtype, wanted):
        return
    if kind == "Bool":
        raise TypeError(
            f"{name}: expected a boolean mask (True = attend), got {value.dtype} "
            f"(compare it, as in {name} > 0; what is added to scores is `bias`)"
        )
    raise TypeError(
        f"{name}: expected {kind.lower()} values, got {value.dtype} (use astype)"
    )


def _check_shape(
    name: str, shape: tuple[int, ...], letters: str, sizes: dict[str, Any]
) -> None:
    axes, known = letters.split(), dict(sizes)
    whole = axes, shape
    if axes and axes[0] == "...":
        axes, shape = axes[1:], shape[len(shape) - len(axes) + 1 :]
    elif axes and axes[0].startswith("*"):
        leading = shape[: max(0, len(shape) - len(axes) + 1)]
        bound = sizes.setdefault(axes[0], leading)
        if bound != leading:
            _complain(name, whole, known, "the leading axes must agree")
        axes, shape = axes[1:], shape[len(leading) :]
    if len(shape) != len(axes):
        extra = len(shape) - len(axes)
        hint = (
            "a batch? wrap the call in jax.vmap" if extra > 0 else "an axis is missing"
        )
        _complain(name, whole, known, hint)
    for axis, size in zip(axes, shape, strict=True):
        if _wanted(axis, size, sizes) != size:
            _complain(name, whole, known, "")


def _wanted(axis: str, size: int, sizes: dict[str, Any]) -> int:
    """The size an axis must have: a number, a letter, a sum (D+E) or a multiple (3*D).

    A letter on its own is bound to `size` when it is new.
    """
    if axis.isdigit():
        return int(axis)
    known = _evaluate(axis, sizes)
    return sizes.setdefault(axis, size) if known is None else known


def _evaluate(axis: str, sizes: dict[str, Any]) -> int | None:
    """The value of a sum or multiple of letters, if all are bound."""
    total = 0
    for term in axis.split("+"):
        factor, _, letter = term.rpartition("*")
        if letter not in sizes:
            return None
        total += int(factor or 1) * sizes[letter]
    return total


def _complain(
    name: str,
    whole: tuple[list[str], tuple[int, ...]],
    sizes: dict[str, Any],
    hint: str,
) -> typing.NoReturn:
    axes, shape = whole

    def spell(axis: str) -> str:
        if axis.startswith("*"):
            return ", ".join(map(str, sizes.get(axis, ("...",))))
        bound = None if axis.isdigit() else _evaluate(axis, sizes)
        return axis if bound is None else f"{axis}={bound}"

    wanted = ", ".join(filter(None, map(spell, axes)))
    got = ", ".join(map(str, shape))
    raise ValueError(
        f"{name}: expected shape [{wanted}], got [{got}]"
        + (f" ({hint})" if hint else " (sizes of one letter must agree)")
    )
