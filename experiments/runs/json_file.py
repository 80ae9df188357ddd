"""Reads the JSON files of a run: the one place where their values get types.

Whoever wrote such a file, and whatever has happened to it since, the result is of the
kind that was asked for or there is one error, which names the file.
"""

import json
import re
import types
import typing
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from experiments.errors import DamagedError
from experiments.files import read_regular

T = TypeVar("T")

# Of a file. Above all it bounds the memory that a stranger's run takes.
LARGEST = 32 << 20
_DEEPEST = 50  # levels of lists and objects

_SCALARS = (str, int, float, type(None))
# How a sealed file ends.
_SEAL = re.compile(rb',\n "checksum": (\d{1,10})\n\}\n\Z')


def sealed_json(values: Mapping[str, Any]) -> str:
    """Formats an object as JSON whose last entry is a checksum of what precedes it."""
    text = json.dumps(values, indent=1).removesuffix("\n}")
    return f'{text},\n "checksum": {zlib.crc32(text.encode())}\n}}\n'


def read_json(path: Path, kind: Any, name: str = "") -> Any:
    """Reads a file of JSON; one that is sealed must match its checksum.

    Args:
      path: of the file.
      kind: see `check_kind`.
      name: of the file in the error; by default its path.

    Raises:
      FileNotFoundError: if there is no such file.
      DamagedError: if it cannot be read, is no JSON, or of another kind.
    """
    try:
        return _unseal(read_regular(path, largest=LARGEST), kind)
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    except ValueError as error:
        reason = f"damaged, {error}"
    raise DamagedError(f"{name or path}: {reason}")


def read_saved(path: Path, kind: Any, build: Callable[[Any], T]) -> T:
    """Builds what was saved beside a run's parameters, such as a vocabulary.

    Args:
      path: of a file of JSON.
      kind: see `check_kind`.
      build: makes the object of what the file holds; a ValueError says what is wrong
        with that.

    Raises:
      DamagedError: as `read_json`, and if there is no such file.
    """
    try:
        return build(_unseal(read_regular(path, largest=LARGEST), kind))
    except OSError as error:
        reason: Any = error.strerror or error
    except ValueError as error:
        reason = error
    raise DamagedError(
        f"{path}: cannot be read: {reason} (copy it back, or train again)"
    )


def _unseal(content: bytes, kind: Any) -> Any:
    found = _SEAL.search(content)
    if found is None:
        return parse_json(content, kind)
    body = content[: found.start()]
    if zlib.crc32(body) != int(found[1]):
        raise ValueError("it does not match its checksum")
    return parse_json(body + b"}", kind)


def parse_json(content: bytes, kind: Any) -> Any:
    """Parses JSON.

    Raises:
      ValueError: if it is none, of another kind, nested too deeply, or has an integer
        of more than 64 bits or text that UTF-8 cannot hold.
    """
    try:
        value = json.loads(content.decode(), parse_int=_parse_int)
        json.dumps(value, ensure_ascii=False).encode()  # no half of a surrogate pair
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeError:
        raise ValueError("expected UTF-8") from None
    _check_depth(value)
    check_kind(value, kind)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        inner = [x.values() if isinstance(x, dict) else x for x in level]
        level = [y for x in inner if not isinstance(x, _SCALARS) for y in x]
    if level:
        raise ValueError("nested too deeply")


def _parse_int(digits: str) -> int:
    number = int(digits) if len(digits) < 21 else 1 << 64
    if abs(number) >= 1 << 63:
        raise ValueError(f"expected integers of 64 bits, got {digits[:30]}")
    return number


def check_kind(value: Any, kind: Any, name: str = "") -> None:
    """Checks the type of what JSON held, and of all that is in it.

    Args:
      value: the value.
      kind: `Any`, a scalar type, None, `list[K]`, `tuple[K, L]` for a list of just
        these, `dict[str, K]`, a `TypedDict`, or a union of kinds. An int is a float.
      name: dotted name of the value, for the error.

    Raises:
      ValueError: naming the first value of another kind.
    """
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return
    if origin in (typing.Union, types.UnionType):
        _check_union(value, members, name)
    elif typing.is_typeddict(kind):
        _expect(isinstance(value, dict), "an object", value, name)
        kinds = typing.get_type_hints(kind)
        wrong = (kind.__required_keys__ - value.keys()) | (value.keys() - kinds.keys())
        if wrong:
            raise ValueError(f"expected {', '.join(kinds)}, got {', '.join(value)}")
        for key, item in value.items():
            check_kind(item, kinds[key], f"{name}.{key}".lstrip("."))
    elif origin is dict:
        _expect(isinstance(value, dict), "an object", value, name)
        for key, item in value.items():
            check_kind(item, members[1], f"{name}.{key}".lstrip("."))
    elif origin in (list, tuple):
        _expect(isinstance(value, list), "a list", value, name)
        each = members if origin is tuple else members * len(value)
        _expect(len(value) == len(each), f"{len(each)} items", value, name)
        for n, item in enumerate(value):
            check_kind(item, each[n], f"{name}[{n}]")
    else:
        right = type(value) is kind or (kind is float and type(value) is int)
        _expect(right, kind.__name__, value, name)


def _check_union(value: Any, members: tuple[Any, ...], name: str) -> None:
    for member in members:
        try:
            return check_kind(value, member, name)
        except ValueError as error:
            last = error
    raise last


def _expect(right: bool, what: str, value: Any, name: str) -> None:
    if not right:
        got = repr(value)
        got = got if len(got) <= 60 else f"{got[:60]}..."
        raise ValueError(f"{name or 'the file'}: expected {what}, got {got}")
