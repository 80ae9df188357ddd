"""Configs to JSON and back."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.runs.config_json import differences, flatten, from_plain, to_plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Small:
    width: int = 3
    rate: float = 0.5


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


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_config_survives_a_file(config):
    text = json.dumps(to_plain(config))
    assert from_plain(Config, json.loads(text)) == config


def test_differences_are_named_by_their_fields():
    old, new = (flatten(to_plain(CONFIGS[name])) for name in ("defaults", "nested"))
    assert differences(old, old) == []
    named = differences(old, new)
    assert "model.width: 3 there, 11 here" in named
    assert "data.class: 'Small' there, 'Files' here" in named
    assert "data.source: 'nothing' there, 'z' here" in named


def test_what_json_cannot_hold_is_named():
    with pytest.raises(
        TypeError,
        match=r"config\.model\.score: expected something that JSON can hold, "
        r"got builtin_function_or_method \(store a name",
    ):
        to_plain({"model": {"score": len}})


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"class": "Small", "depth": 2}, "got depth too many and none too few"),
        ({"class": "Files"}, "expected Small, got Files"),
    ],
)
def test_a_file_of_another_version_is_refused(plain, message):
    with pytest.raises(UserError, match=message):
        from_plain(Small, plain)


def test_a_missing_field_without_default_is_refused():
    with pytest.raises(UserError, match="got none too many and source too few"):
        from_plain(Files, {"class": "Files"})
