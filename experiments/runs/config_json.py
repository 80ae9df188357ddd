"""Configs as JSON: frozen dataclasses to plain values and back, and how two differ.

`cattrs` does the conversion. Its own hooks coerce (`int("5")`, `bool("no")`), so those
registered here replace them: a value of the wrong type is an error.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import cattrs
from cattrs.errors import ClassValidationError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from experiments.errors import UserError

T = TypeVar("T")

# Names the dataclass in the file and tells the members of a union apart. It is a
# keyword of Python, so no field can have this name.
_CLASS = "class"

_FIX = "correct it in config.json, or train again"
_VERSION = "another version or another command wrote the file"


def config_to_json(config: Any) -> Any:
    """Converts a config to what JSON holds; a dataclass keeps the name of its class.

    Args:
      config: dataclass, mapping, sequence, path, string, number, boolean or None,
        nested in any way.

    Raises:
      TypeError: for any other value, with its dotted name.
    """
    plain = _converter.unstructure(config)
    for name, value in flatten_fields(plain).items():
        try:
            json.dumps(value)
        except TypeError:
            raise TypeError(
                f"{name}: expected a value that JSON can hold, got "
                f"{type(value).__name__} (store a name or a number, and look it up)"
            ) from None
    return json.loads(json.dumps(plain))  # tuples as lists, as a file holds them


def config_from_json(kind: type[T], plain: Any) -> T:
    """Rebuilds a config from the result of `config_to_json`.

    Args:
      kind: the dataclass. Its fields may be dataclasses and unions of them, scalars,
        paths, literals and tuples of any length, each also optional.
      plain: what JSON held.

    Raises:
      UserError: for a value of the wrong type, a missing or an unknown field, or
        another class, with the dotted name of the field.
    """
    try:
        return _converter.structure(plain, kind)
    except (ClassValidationError, IterableValidationError, ValueError) as error:
        first = cattrs.transform_error(
            error, path="", format_exception=lambda e, _: str(e)
        )[0]
        message, _, path = first.rpartition(" @ ")
        raise UserError(f"{path.lstrip('.') or 'config'}: {message}") from error


def _structure_scalar(value: Any, kind: Any) -> Any:
    """Takes an int for a float, and else only the very type: `True` is no int here."""
    if type(value) is kind or (kind is float and type(value) is int):
        return kind(value)
    what = {int: "an int", float: "a number", bool: "a bool", str: "a string"}[kind]
    raise ValueError(f"expected {what}, got {value!r} ({_FIX})")


def _structure_path(value: Any, _: Any) -> Path:
    if not isinstance(value, str):
        raise ValueError(f"expected a path, got {value!r} ({_FIX})")
    return Path(value)


def _structure_literal(value: Any, kind: Any) -> Any:
    choices = typing.get_args(kind)
    if not any(value == x and type(value) is type(x) for x in choices):
        names = ", ".join(map(repr, choices))
        raise ValueError(f"expected one of {names}, got {value!r} ({_FIX})")
    return value


def _structure_tuple(value: Any, kind: Any) -> Any:
    items: Any = list[typing.get_args(kind)[0]]  # type: ignore[misc]
    if not isinstance(value, list):  # a string would be split into characters
        raise ValueError(f"expected a list, got {value!r} ({_FIX})")
    return tuple(_converter.structure(value, items))


def _structure_union(value: Any, kind: Any) -> Any:
    members = typing.get_args(kind)
    if value is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1:
        return _converter.structure(value, members[0])
    for member in members:
        if _class_of(value) == member.__name__:
            return _converter.structure(value, member)
    names = " or ".join(member.__name__ for member in members)
    raise ValueError(f"expected {names}, got {_class_of(value)} ({_VERSION})")


def _structure_dataclass(kind: Any) -> Callable[[Any, Any], Any]:
    structure = make_dict_structure_fn(kind, _converter)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    required = {
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }

    def hook(value: Any, _: Any) -> Any:
        if _class_of(value) != kind.__name__:
            raise ValueError(
                f"expected {kind.__name__}, got {_class_of(value)} ({_VERSION})"
            )
        unknown = ", ".join(sorted(value.keys() - {*fields, _CLASS})) or "none"
        missing = ", ".join(sorted(required - value.keys())) or "none"
        if (unknown, missing) != ("none", "none"):
            raise ValueError(
                f"expected the fields of {kind.__name__}, got unknown fields: "
                f"{unknown}; missing fields: {missing} ({_VERSION})"
            )
        return structure(value, kind)

    return hook


def _unstructure_dataclass(kind: Any) -> Callable[[Any], Any]:
    unstructure = make_dict_unstructure_fn(kind, _converter)
    return lambda value: {_CLASS: kind.__name__, **unstructure(value)}


def _class_of(value: Any) -> str:
    """The class that a value was saved with, for comparing and for errors."""
    if not isinstance(value, Mapping):
        return repr(value)
    return str(value.get(_CLASS, "a mapping without a class"))


def _is_literal(kind: Any) -> bool:
    return typing.get_origin(kind) is Literal


def _is_tuple(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for kind in (int, float, bool, str):
        converter.register_structure_hook(kind, _structure_scalar)
    converter.register_structure_hook(Path, _structure_path)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook_func(_is_literal, _structure_literal)
    converter.register_structure_hook_func(_is_tuple, _structure_tuple)
    converter.register_structure_hook_func(_is_union, _structure_union)
    converter.register_structure_hook_factory(
        dataclasses.is_dataclass, _structure_dataclass
    )
    converter.register_unstructure_hook_factory(
        dataclasses.is_dataclass, _unstructure_dataclass
    )
    return converter


_converter = _make_converter()


def flatten_fields(plain: Any, name: str = "") -> dict[str, Any]:
    """Maps the dotted name of each field of a plain config to its value.

    Example:
      >>> flatten_fields({"a": 1, "b": {"c": [2, 3]}})
      {'a': 1, 'b.c': [2, 3]}
    """
    if not isinstance(plain, Mapping):
        return {name: plain}
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        flat |= flatten_fields(value, f"{name}.{key}" if name else key)
    return flat


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Describes where two flattened configs differ.

    Example:
      >>> differences({"a": 1, "b.c": 2}, {"a": 1, "b.c": 3})
      ['b.c: 2 saved, 3 now']
    """
    absent = "nothing"
    return [
        f"{key}: {saved.get(key, absent)!r} saved, {current.get(key, absent)!r} now"
        for key in [*saved, *(key for key in current if key not in saved)]
        if saved.get(key, absent) != current.get(key, absent)
    ]
