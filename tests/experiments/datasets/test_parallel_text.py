"""Parallel text: every accepted format, and every error that names what is wrong."""

import gzip
import itertools
import signal
import subprocess
import sys
import tempfile

import pytest

from experiments.datasets.data_dir import default_data_dir
from experiments.datasets.pairs.datasets import Pair, read_pairs
from experiments.datasets.parallel_text.parallel_text_builder import (
    ParallelText,
    held_out_lines,
)
from experiments.errors import UserError

SOURCE = "one\ntwo\nthree\n"
TARGET = "eins\nzwei\ndrei\n"
PAIRS = [Pair("one", "eins"), Pair("two", "zwei"), Pair("three", "drei")]


@pytest.fixture
def read(tmp_path):
    """Builds the data in a folder of the test and reads one split."""

    def pairs(split="train", **settings):
        return read_pairs(ParallelText(data_dir=tmp_path / "data", **settings), split)

    return pairs


@pytest.mark.parametrize(
    "files",
    [
        {"a": SOURCE, "b": TARGET},
        {"a": gzip.compress(SOURCE.encode()), "b": TARGET},
        {
            "a.gz": gzip.compress(SOURCE.encode()),
            "b.gz": gzip.compress(TARGET.encode()),
        },
        {"a": "\ufeff" + SOURCE.replace("\n", "\r\n"), "b": TARGET[:-1]},
        {"a": " one \n two\nthree\t\n", "b": TARGET},
        {"tsv": "one\teins\ntwo\tzwei\nthree\tdrei\n"},
        {"tsv.gz": gzip.compress(b"one\teins\tx\ntwo \t zwei\ty\tz\nthree\tdrei")},
    ],
)
def test_every_format_gives_the_same_pairs(files, write, read):
    assert read(train=tuple(write(name, text) for name, text in files.items())) == PAIRS


def test_only_newlines_end_a_line(write, read):
    odd = "a\u2028b\x0cc\x85d\re"
    assert read(train=(write("a", f"{odd}\nx\n"), write("b", "1\n2\n"))) == [
        Pair(odd, "1"),
        Pair("x", "2"),
    ]


def test_splits_from_files(write, read, tmp_path):
    a, b = write("a", SOURCE), write("b", TARGET)
    v, t = write("v.tsv", "v\tV\n"), write("t.tsv", "t\tT\n")
    settings = {"train": (a, b), "validation": (v,), "test": (t,)}
    assert read("validation", **settings) == [Pair("v", "V")]
    assert read("test", **settings) == [Pair("t", "T")]
    data = ParallelText(data_dir=tmp_path / "data", **settings)
    assert data.splits == ("train", "validation", "test")


def test_held_out_pairs_are_not_trained_on(write, read):
    lines = [f"s{i % 89}\tt{i}" for i in range(97)]  # s0 to s7 twice
    settings = {
        "train": (write("a.tsv", "\n".join(lines)),),
        "held_out_validation": 11,
        "held_out_test": 7,
    }
    train, validation, test = (
        read(split, **settings) for split in ("train", "validation", "test")
    )
    assert (len(validation), len(test)) == (11, 7)
    hidden = {pair.source for pair in validation + test}
    assert not hidden & {pair.source for pair in train}
    kept = [Pair(*line.split("\t")) for line in lines]
    assert train == [pair for pair in kept if pair.source not in hidden]
    assert validation == [pair for pair in kept if pair in validation]


@pytest.mark.parametrize(
    ("columns", "pair"),
    [
        ({}, ("go", "geh")),
        ({"source_column": 2}, ("geh", "go")),
        ({"source_column": 3}, ("va", "geh")),
        ({"source_column": 3, "target_column": 1}, ("va", "go")),
    ],
)
def test_columns_can_be_chosen(columns, pair, write, read):
    path = write("a.tsv", "go\tgeh\tva\nrun\tlauf\tcours\n")
    assert read(train=(path,), **columns)[0] == Pair(*pair)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"source_column": 0}, r"source_column: expected 1 or more, got 0"),
        ({"target_column": 1}, r"target_column: expected another than that of the"),
        (
            {"source_column": 3},
            r"a.tsv: expected 3 columns .*, got 2 columns in line 2",
        ),
    ],
)
def test_columns_that_are_not_there_are_refused(columns, message, write, read):
    path = write("a.tsv", "go\tgeh\tva\nrun\tlauf\n")
    with pytest.raises(UserError, match=message):
        read(train=(path,), **columns)


def test_the_real_columns_are_english_first(shared, read, write):
    path = shared / "data" / "tatoeba" / "deu-eng.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        path = write("begin.tsv", "".join(itertools.islice(file, 100)))
    pair = read(train=(path,), source_column=2)[0]
    assert pair[:2] == ("Hallo!", "Hi.")


def test_pairs_that_are_left_out_are_counted(write, tmp_path):
    lines = ["a\tx"] * 3 + ["b\ty", "d\tw", "e\tv", "f\tu", "c\t", "\tz"]
    data = ParallelText(
        train=(write("a.tsv", "\n".join(lines)),),
        held_out_validation=3,
        drop_empty=True,
        data_dir=tmp_path / "data",
    )
    held = read_pairs(data, "validation")
    kept = held + read_pairs(data, "train")
    # Of the three equal pairs those that are not held out beside one that is.
    assert 7 - len(kept) == 2
    assert data.left_out == (
        "2 pairs with an empty side; 2 pairs whose source is held out"
    )


def test_building_leaves_nothing_in_the_temporary_folder(
    write, read, tmp_path, monkeypatch
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    read(train=(write("a", SOURCE), write("b", TARGET)))
    assert not list((tmp_path / "temporary").iterdir())


def test_held_out_lines_are_pinned():
    # Computed by this code, numpy 2.4.6. Other lines would make scores incomparable.
    lines = held_out_lines(13, {"validation": 3, "test": 2})
    assert lines == {"validation": {1, 4, 9}, "test": {2, 11}}


def test_empty_lines_are_dropped_in_pairs_on_request(write, read):
    a, b = write("a", "one\n\nthree\n \n"), write("b", "eins\nzwei\n\n\n")
    assert read(train=(a, b), drop_empty=True) == PAIRS[:1]


def test_changed_files_and_settings_are_built_again(write, read):
    a, b = write("a", "x\n\ny\n"), write("b", "X\nQ\nY\n")
    assert len(read(train=(a, b), drop_empty=True)) == 2
    write("a", "x\nq\ny\n")
    assert read(train=(a, b), drop_empty=True)[1] == Pair("q", "Q")
    assert read(train=(b, a), drop_empty=True)[1] == Pair("Q", "q")
    assert len(read(train=(a, b), held_out_test=1)) == 2


INVALID = {
    "unequal": (
        {"a": SOURCE, "b": TARGET + "vier\n"},
        r"files: expected equally many lines, got 3 in .*a and 4 in .*b",
    ),
    "empty lines": (
        {"a": SOURCE, "b": "eins\n\n \n"},
        r"b: expected a sentence in every line, got 2 empty \(line 2, 3; fix .* "
        r"--data\.drop-empty\)",
    ),
    "many empty lines": (
        {"a": "\n" * 7 + "x", "b": "y\n" * 8},
        r"a: expected .*, got 7 empty \(line 1, 2, 3, 4, 5, \.\.\.; ",
    ),
    "not UTF-8": (
        {"a": SOURCE, "b": b"eins\nzw\xffi\ndrei\n"},
        r"b: expected UTF-8, got byte 0xff in line 2, at byte 7 of the text",
    ),
    "not UTF-8 after a mark": (
        {"a": b"\xef\xbb\xbfon\xe9\n", "b": "eins\n"},
        r"a: expected UTF-8, got byte 0xe9 in line 1, at byte 5 of the text",
    ),
    "not UTF-8, zipped": (
        {"a": gzip.compress(b"one\ntw\xf6\n"), "b": "eins\nzwei\n"},
        r"a: expected UTF-8, got byte 0xf6 in line 2, at byte 6 of the text",
    ),
    "cut short": (
        {"a": gzip.compress(SOURCE.encode())[:-6], "b": TARGET},
        r"a: expected a whole gzip file",
    ),
    "empty file": ({"a": SOURCE, "b": ""}, r"b: expected lines of text, got an empty"),
    "only empty lines": (
        {"a": "\n\n", "b": "\n\n", "drop_empty": True},
        r"a: expected lines of text, got empty lines only",
    ),
    "no tab": (
        {"tsv": "one\teins\ntwo zwei\n"},
        r"tsv: expected source, tab, target, got no tab in line 2",
    ),
    "empty column": (
        {"tsv": "one\teins\n\tzwei\nthree\t\n"},
        r"tsv: expected a sentence in every line, got 2 empty \(line 2, 3; ",
    ),
    "three files": (
        {"a": SOURCE, "b": TARGET, "c": TARGET},
        r"train: expected two line-aligned files, or one .*, got 3 files",
    ),
    "no files": ({}, r"train: expected two line-aligned files, or one .*, got 0 files"),
    "held out too many": (
        {"a": SOURCE, "b": TARGET, "held_out_test": 3},
        r"held_out: expected fewer than all 3 training pairs, got 3",
    ),
    "held out every source": (
        {
            "tsv": "".join(f"{n % 8}\t{n % 8}\n" for n in range(320)),
            "held_out_test": 40,
        },
        r"held_out: expected training pairs whose source is in no held-out pair, got "
        r"none \(the text has 8 different sources in 320 pairs: hold out fewer",
    ),
    "held out fewer than none": (
        {"a": SOURCE, "b": TARGET, "held_out_validation": -1},
        r"held_out_validation: expected 0 or more, got -1",
    ),
}


@pytest.mark.parametrize(("given", "message"), INVALID.values(), ids=INVALID)
def test_errors_name_the_file_and_leave_no_build(given, message, write, read, tmp_path):
    files = {name: text for name, text in given.items() if not isinstance(text, int)}
    settings = {name: n for name, n in given.items() if isinstance(n, int)}
    train = tuple(write(name, text) for name, text in files.items())
    for _ in range(2):  # a failed build must not be used the second time
        with pytest.raises(UserError, match=message):
            read(train=train, **settings)
    assert not list(tmp_path.glob("data/parallel_text/*/*"))


def test_missing_files_and_folders_are_refused(write, read, tmp_path):
    a = write("a", SOURCE)
    with pytest.raises(UserError, match=r"none: expected a file, got nothing of that"):
        read(train=(a, tmp_path / "none"))
    with pytest.raises(UserError, match=r"expected a file, got a folder"):
        read(train=(a, tmp_path))


def test_a_split_from_both_files_and_a_count_is_refused(write, read):
    a = write("a", "x\ty\n")
    with pytest.raises(
        UserError,
        match=r"test: expected files or a held-out count, got both \(drop --data",
    ):
        read(train=(a,), test=(a,), held_out_test=1)


def test_the_error_for_an_unknown_split_lists_the_splits(write, read):
    with pytest.raises(UserError, match=r"split: expected one of train, got 'dev'"):
        read("dev", train=(write("a", "x\ty\n"),))


def test_a_data_folder_that_cannot_be_written_is_refused(write, tmp_path):
    data = ParallelText(train=(write("a", "x\ty\n"),), data_dir=tmp_path / "a" / "b")
    with pytest.raises(
        UserError, match=r"data_dir: expected a folder .*, got .*a/b \("
    ):
        data.load("train")


BUILD_AND_HANG = """
import sys, time
from pathlib import Path
from experiments.datasets import text_files
from experiments.datasets.parallel_text.parallel_text_builder import ParallelText

real = text_files.read_pairs

def hanging(*args, **settings):
    for pair in real(*args, **settings):
        yield pair
        print("writing", file=sys.stderr, flush=True)
        time.sleep(600)

text_files.read_pairs = hanging
ParallelText(train=(Path(sys.argv[1]),), data_dir=Path(sys.argv[2])).load("train")
"""


def test_a_killed_build_is_not_used(write, read, tmp_path):
    file = write("a.tsv", "one\teins\ntwo\tzwei\nthree\tdrei\n")
    command = [sys.executable, "-c", BUILD_AND_HANG, str(file), str(tmp_path / "data")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.glob("data/parallel_text/*/incomplete*"))
    assert read(train=(file,)) == PAIRS
    assert not list(tmp_path.glob("data/parallel_text/*/incomplete*"))


def test_default_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTNJAX_DATA_DIR", str(tmp_path / "mine"))
    assert default_data_dir() == tmp_path / "mine"
    monkeypatch.delenv("ATTNJAX_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_data_dir() == tmp_path / "cache" / "attnjax" / "datasets"
