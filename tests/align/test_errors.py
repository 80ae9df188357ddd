"""Error messages of `align`."""

import gzip

import numpy as np
import pytest

from attnjax import align

LINKS = align.parse_pharaoh("0-0 1-1")


@pytest.mark.parametrize(
    "text", ["1", "1-", "-1", "1-2-3", "1_2", "a-b", "1--2", "１-2"]
)
def test_a_malformed_link_is_named(text):
    want = rf"line: expected links like 3-4 \(sure\) or 3p4 \(possible\), got '{text}'"
    with pytest.raises(ValueError, match=want):
        align.parse_pharaoh(f"0-0 {text} 1-1")


def test_a_link_past_the_end_is_named():
    with pytest.raises(
        ValueError, match="line: expected source positions below 5, got 5 in 5-1"
    ):
        align.parse_pharaoh("0-0 5-1", source_length=5, target_length=7)
    with pytest.raises(
        ValueError, match=r"line: expected target positions below 7, got 7 .*swapped\?"
    ):
        align.parse_pharaoh("0-0 4p7", source_length=5, target_length=7)


def test_a_bad_line_is_named_with_its_file(tmp_path):
    path = tmp_path / "bad.talp"
    path.write_text("0-0\n0-0 x\n")
    with pytest.raises(ValueError, match=r"bad\.talp:2: line: expected links like"):
        align.read_pharaoh(path)
    path.write_text("0-0\n3-0\n")
    with pytest.raises(
        ValueError, match=r"bad\.talp:2: line: expected source positions"
    ):
        align.read_pharaoh(path, lengths=[(1, 1), (3, 1)])
    with pytest.raises(ValueError, match=r"bad\.talp: expected 3 lines, got 2"):
        align.read_pharaoh(path, lengths=[(9, 9)] * 3)
    with pytest.raises(FileNotFoundError, match="missing"):
        align.read_pharaoh(tmp_path / "missing")


def test_a_damaged_file_is_named(tmp_path):
    whole = gzip.compress(b"0-0 1-1\n" * 99)
    for data in (
        whole[:-9],
        whole[:20] + b"\xff\xff" + whole[22:],
        whole[:-8] + bytes(8),
    ):
        (tmp_path / "cut.gz").write_bytes(data)
        with pytest.raises(ValueError, match=r"cut\.gz: expected a whole gzip file"):
            align.read_pharaoh(tmp_path / "cut.gz")
    (tmp_path / "latin").write_bytes(b"0-0\n1-1 \xe9\n")
    with pytest.raises(
        ValueError, match=r"latin:2: expected UTF-8 text, got the byte 0xe9"
    ):
        align.read_pharaoh(tmp_path / "latin")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    align.write_pharaoh(tmp_path / "a", [[(0, 0)]])

    def links():
        yield [(1, 1)]
        raise KeyError("the decoder failed")

    with pytest.raises(KeyError):
        align.write_pharaoh(tmp_path / "a", links())
    assert (tmp_path / "a").read_text() == "0-0\n"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: align.hard_alignment(np.ones((2, 3, 5))),
            r"weights: expected shape \[T, S\], got \[2, 3, 5\] \(one sentence",
        ),
        (
            lambda: align.hard_alignment([[0.5, 0.5], [0.5, np.nan]]),
            "weights: expected finite values, got NaN or inf in row 1",
        ),
        (
            lambda: align.hard_alignment([[0.5, 0.5]], drop_source=[2]),
            r"drop_source: expected positions of weights, which has 2, got 2 \(-1 is",
        ),
        (
            lambda: align.sparse_alignment([[0.5, 0.5]], drop_target=[-2]),
            "drop_target: expected positions of weights, which has 1, got -2",
        ),
        (
            lambda: align.merge_subwords(np.ones((2, 3)), [[0], []], [[0]]),
            "source_words: expected a piece in every word, got none in 1",
        ),
        (
            lambda: align.merge_subwords(np.ones((2, 3)), [[0]], [[0], [1, 2]]),
            "target_words: expected positions below 2, got 2 in word 1",
        ),
        (
            lambda: align.merge_subwords(np.ones((2, 3)), [], [], target="sum"),
            "target: expected 'mean' or 'max', got 'sum'",
        ),
        (
            lambda: align.alignment_error_rate([], [LINKS]),
            r"hypotheses: expected 1 alignments \(as in references\), got 0",
        ),
        (
            lambda: align.symmetrise(LINKS, LINKS, method="grow"),
            r"method: expected one of \('intersection', .*, got 'grow'",
        ),
        (
            lambda: align.symmetrise(LINKS, LINKS, grow="any"),
            "grow: expected 'either' or 'both', got 'any'",
        ),
        (
            lambda: align.check_alignment(np.ones((2, 3)), ["a"] * 2, ["b"] * 2),
            r"source_words: expected 3 words, got 2 \(one per column of weights",
        ),
        (
            lambda: align.check_alignment(np.ones((2, 3)), ["a"] * 3, "ab"),
            "target_words: expected 2 words, got one string",
        ),
        (
            lambda: align.check_alignment(np.ones((0, 3)), ["a"] * 3, []),
            r"weights: expected a word on each side, got shape \[0, 3\]",
        ),
        (
            lambda: align.check_alignment([[-3.0, 4.0]], ["a", "b"], ["c"]),
            r"weights: expected values from 0 to 1, got -3 to 4 \(scores\?",
        ),
        (
            lambda: align.check_alignment(
                [[1.0]], ["a"], ["b"], align.alignment([(0, 1)])
            ),
            "gold: expected target positions below 1, got 1 in 0-1",
        ),
    ],
)
def test_a_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
