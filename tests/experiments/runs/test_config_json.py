"""Configs as JSON, and the checks of their numbers."""

import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from experiments.algorithms import configs as algorithms
from experiments.babi import configs as babi
from experiments.cli import checks
from experiments.errors import UserError
from experiments.handwriting import configs as handwriting
from experiments.language_model import configs as language_model
from experiments.runs.config_json import (
    config_from_json,
    config_to_json,
    differences,
    flatten_fields,
)
from experiments.transduce import configs as transduce
from experiments.translate import configs as translate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Small:
    width: int = 3
    rate: float = 0.5
    act: Literal["relu", "gelu"] = "relu"
    bias: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    source: Path
    limit: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    name: str
    data: Small | Files
    model: Small = Small()
    extra: Small | None = None
    buckets: tuple[int, ...] = ()
    parts: tuple[Small, ...] = ()


CONFIGS = {
    "defaults": Config(name="a", data=Small()),
    "other member": Config(name="b", data=Files(source=Path("x/y"), limit=7)),
    "nested": Config(
        name="c",
        data=Files(source=Path("z")),
        model=Small(width=11),
        extra=Small(rate=1e-3),
        buckets=(5, 7, 11),
        parts=(Small(), Small(width=2)),
    ),
}


REAL = {
    f"{program.__name__}.{name}": config
    for program in (
        *(algorithms, babi, handwriting),
        *(language_model, transduce, translate),
    )
    for name, (_, config) in program.CONFIGS.items()
}


@pytest.mark.parametrize("config", [*CONFIGS.values(), *REAL.values()])
def test_a_config_survives_json(config):
    text = json.dumps(config_to_json(config))
    assert config_from_json(type(config), json.loads(text)) == config


def test_the_file_names_each_class_and_field():
    assert config_to_json(CONFIGS["other member"])["data"] == {
        "class": "Files",
        "source": "x/y",
        "limit": 7,
    }


def test_an_int_is_accepted_for_a_float():
    loaded = config_from_json(Small, {"class": "Small", "rate": 1})
    assert loaded == Small(rate=1.0)
    assert type(loaded.rate) is float


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.width", "many", "expected an int, got 'many'"),
        ("model.width", [1], r"expected an int, got \[1\]"),
        ("model.width", True, "expected an int, got True"),
        ("model.width", 3.5, "expected an int, got 3.5"),
        ("model.width", None, "expected an int, got None"),
        ("model.rate", "0.5", "expected a number, got '0.5'"),
        ("model.rate", False, "expected a number, got False"),
        ("model.bias", 1, "expected a bool, got 1"),
        ("model.act", "tanh", "expected one of 'relu', 'gelu', got 'tanh'"),
        ("name", 7, "expected a string, got 7"),
        ("data.source", 7, "expected a path, got 7"),
        ("data.limit", "7", "expected an int, got '7'"),
        ("extra", 3, "expected Small, got 3"),
        ("buckets", "57", "expected a list, got '57'"),
        ("buckets", [5, "7"], "expected an int, got '7'"),
        ("parts", [3], "expected Small, got 3"),
        ("data", {"width": 3}, "expected Small or Files, got a mapping without a"),
        ("data", {"class": "Big"}, r"expected Small or Files, got Big \(another ver"),
        ("model", {"class": "Files"}, r"expected Small, got Files \(another version"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(field, value, message):
    plain = config_to_json(CONFIGS["nested"])
    *parents, last = field.split(".")
    inner = plain
    for name in parents:
        inner = inner[name]
    inner[last] = value
    index = {"buckets": r"(\[1\])?", "parts": r"\[0\]"}.get(field, "")
    with pytest.raises(UserError, match=f"^{field}{index}: {message}") as error:
        config_from_json(Config, plain)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "plain", "message"),
    [
        (Small, {"class": "Small", "depth": 2}, "unknown fields: depth; missing fi"),
        (Files, {"class": "Files"}, "unknown fields: none; missing fields: source"),
        (Small, {"class": "Files"}, "expected Small, got Files"),
        (Small, 3, "expected Small, got 3"),
    ],
)
def test_fields_and_classes_of_another_version_are_named(kind, plain, message):
    with pytest.raises(UserError, match=f"^config: .*{message}"):
        config_from_json(kind, plain)


def test_a_value_that_the_constructor_rejects_is_a_user_error():
    @dataclasses.dataclass(frozen=True)
    class Even:
        number: int

        def __post_init__(self):
            if self.number % 2:
                raise ValueError(f"number: expected an even one, got {self.number}")

    with pytest.raises(UserError, match="number: expected an even one, got 3"):
        config_from_json(Even, {"class": "Even", "number": 3})


def test_a_value_that_json_cannot_hold_is_named():
    with pytest.raises(
        TypeError,
        match=r"^model\.score: expected a value that JSON can hold, "
        r"got builtin_function_or_method \(store a name",
    ):
        config_to_json({"model": {"score": len}})


def test_differences_are_named_by_their_fields():
    saved, current = (
        flatten_fields(config_to_json(CONFIGS[name])) for name in ("defaults", "nested")
    )
    assert differences(saved, saved) == []
    named = differences(saved, current)
    assert "model.width: 3 saved, 11 now" in named
    assert "data.class: 'Small' saved, 'Files' now" in named
    assert "data.source: 'nothing' saved, 'z' now" in named


def numeric_fields(kind: Any, name: str = "") -> Iterator[str]:
    """The names of all int and float fields of a dataclass and of those in it."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        for member in typing.get_args(kind):
            yield from numeric_fields(member, name)
    elif dataclasses.is_dataclass(kind):
        for field, hint in typing.get_type_hints(kind).items():
            yield from numeric_fields(hint, field)
    elif kind in (int, float):
        yield name


def test_every_number_of_every_config_is_checked():
    """A field that is renamed without its entry in the table fails here."""
    fields = {name for config in REAL.values() for name in numeric_fields(type(config))}
    tables = (checks.COUNTS, checks.AMOUNTS, checks.POSITIVE, checks.FRACTIONS)
    checked = [name for table in tables for name in table]
    assert sorted(checked) == sorted(fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    steps: int = 1
    seed: int = 0
    rope_theta: float = 1.0
    dropout: float = 0.0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "expected at least 1, got 0"),
        ("seed", -1, "expected at least 0, got -1"),
        ("rope_theta", 0.0, "expected more than 0, got 0.0"),
        ("dropout", 1.0, "expected 0 or more and less than 1, got 1.0"),
        ("dropout", float("nan"), "expected 0 or more and less than 1, got nan"),
    ],
)
def test_a_number_out_of_range_is_named(field, value, message):
    checks.check_numbers(Numbers())
    with pytest.raises(UserError, match=f"^model.{field}: {message}$"):
        checks.check_numbers(Numbers(**{field: value}), "model.")
