"""Configs as files: frozen dataclasses to JSON and back, and how two differ."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from experiments.errors import UserError

T = TypeVar("T")

# A keyword, so no field can have this name. It tells the members of a union apart.
_CLASS = "class"


def to_plain(config: Any, name: str = "config") -> Any:
    """Turns a config into what JSON holds; a dataclass remembers its class.

    Args:
      config: dataclass, mapping, sequence, path, string, number, boolean or None,
        nested as you like.
      name: what to call it in an error.

    Raises:
      TypeError: for anything else, with its dotted name.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        fields = {
            f.name: to_plain(getattr(config, f.name), f"{name}.{f.name}")
            for f in dataclasses.fields(config)
        }
        return {_CLASS: type(config).__name__, **fields}
    if isinstance(config, Mapping):
        return {str(k): to_plain(v, f"{name}.{k}") for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_plain(v, f"{name}.{i}") for i, v in enumerate(config)]
    if isinstance(config, Path):
        return str(config)
    if config is None or isinstance(config, (bool, int, float, str)):
        return config
    raise TypeError(
        f"{name}: expected something that JSON can hold, got "
        f"{type(config).__name__} (store a name or a number, and look it up)"
    )


def from_plain(kind: type[T], plain: Any, name: str = "config") -> T:
    """Rebuilds a config from what `to_plain` made of it.

    Fields that the dataclass does not have any more, or that the file lacks and
    that have no default, are errors: the file is of another version.

    Args:
      kind: the dataclass (fields: dataclasses, unions, tuples, paths, scalars).
      plain: what JSON held.
      name: what to call it in an error.

    Raises:
      UserError: if the two do not fit.
    """
    return typing.cast(T, _rebuild(kind, plain, name))


def _rebuild(kind: Any, plain: Any, name: str) -> Any:
    members = [kind]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        members = list(typing.get_args(kind))
    if plain is None and (type(None) in members or kind is None):
        return None
    if isinstance(plain, Mapping) and _CLASS in plain:
        for member in members:
            if getattr(member, "__name__", None) == plain[_CLASS]:
                return _rebuild_dataclass(member, plain, name)
        raise UserError(
            f"{name}: expected {_names(members)}, got {plain[_CLASS]} (the file "
            f"belongs to another version or another command)"
        )
    for member in members:
        if typing.get_origin(member) is tuple:
            item = typing.get_args(member)[0]
            return tuple(_rebuild(item, v, f"{name}.{i}") for i, v in enumerate(plain))
    return Path(plain) if Path in members and isinstance(plain, str) else plain


def _rebuild_dataclass(kind: Any, plain: Mapping[str, Any], name: str) -> Any:
    hints = typing.get_type_hints(kind)
    given = {k: v for k, v in plain.items() if k != _CLASS}
    unknown = sorted(given.keys() - hints.keys())
    needed = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(needed - given.keys())
    if unknown or missing:
        raise UserError(
            f"{name}: expected the fields of {kind.__name__}, got "
            f"{', '.join(unknown) or 'none'} too many and "
            f"{', '.join(missing) or 'none'} too few (another version wrote the file)"
        )
    return kind(**{k: _rebuild(hints[k], v, f"{name}.{k}") for k, v in given.items()})


def _names(kinds: list[Any]) -> str:
    return " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)


def flatten(plain: Any, name: str = "") -> dict[str, Any]:
    """Names the leaves of a plain config by their dotted fields.

    Example:
      >>> flatten({"a": 1, "b": {"c": [2, 3]}})
      {'a': 1, 'b.c': [2, 3]}
    """
    if not isinstance(plain, Mapping):
        return {name: plain}
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        flat |= flatten(value, f"{name}.{key}" if name else key)
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Says where two flat configs differ.

    Example:
      >>> differences({"a": 1, "b.c": 2}, {"a": 1, "b.c": 3})
      ['b.c: 2 there, 3 here']
    """
    absent = "nothing"
    return [
        f"{key}: {old.get(key, absent)!r} there, {new.get(key, absent)!r} here"
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key, absent) != new.get(key, absent)
    ]
