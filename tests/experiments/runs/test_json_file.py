"""JSON of a run: every value has the type that is asked for, or one error says so."""

import json
from typing import Any, NotRequired, TypedDict

import pytest

from experiments.errors import DamagedError
from experiments.runs.json_file import check_kind, parse_json, read_json, sealed_json


class Kind(TypedDict):
    """A file of the tests."""

    step: int
    rates: dict[str, float]
    best: tuple[str, str]
    line: list[int] | None
    rest: NotRequired[Any]


GOOD = {"step": 3, "rates": {"a": 1, "b": 0.5}, "best": ["x", "y"], "line": None}


def test_what_is_of_the_kind_is_returned_as_it_was_written(tmp_path):
    path = tmp_path / "file.json"
    for values in (GOOD, GOOD | {"line": [5, 7], "rest": {"é": [None]}}):
        for text in (json.dumps(values), sealed_json(values)):
            path.write_text(text)
            assert read_json(path, Kind) == values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": True}, "step: expected int, got True"),
        ({"step": 3.0}, "step: expected int, got 3.0"),
        ({"step": None}, "step: expected int, got None"),
        ({"rates": []}, r"rates: expected an object, got \[\]"),
        ({"rates": {"a": "1"}}, r"rates\.a: expected float, got '1'"),
        ({"best": ["x"]}, r"best: expected 2 items, got \['x'\]"),
        ({"best": ["x", 3]}, r"best\[1\]: expected str, got 3"),
        ({"line": [5, "x"]}, r"line: expected NoneType|line\[1\]: expected int"),
        ({"more": 1}, "expected step, rates, best, line, rest, got step, rates"),
    ],
)
def test_a_value_of_another_kind_is_named(change, message):
    with pytest.raises(ValueError, match=f"^({message})"):
        check_kind(GOOD | change, Kind)


def test_a_missing_entry_is_named():
    with pytest.raises(ValueError, match="expected step, rates, best, line, rest, got"):
        check_kind({"step": 3}, Kind)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "Expecting property name"),
        (b'"\xff"', "expected UTF-8"),
        (b'"\\ud800"', "expected UTF-8"),
        (b"9" * 5000, "expected integers of 64 bits, got 999999"),
        (b"-9223372036854775809", "expected integers of 64 bits"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 60 + b"]" * 60, "nested too deeply"),
    ],
)
def test_what_is_no_json_for_us_is_one_error(content, message):
    with pytest.raises(ValueError, match=message):
        parse_json(content, Any)


def test_each_flipped_bit_of_a_sealed_file_is_noticed(tmp_path):
    path = tmp_path / "file.json"
    whole = sealed_json(GOOD).encode()
    for place in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(DamagedError, match=r"^.*file\.json: "):
                read_json(path, Kind)


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("1")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(DamagedError, match="folder: cannot be read: not a regular"):
        read_json(tmp_path / "folder", Any)
    with pytest.raises(DamagedError, match="link: cannot be read: a symbolic link"):
        read_json(tmp_path / "link", Any)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nothing", Any)
