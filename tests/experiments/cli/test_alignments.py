"""Laws of the drawing first, then pictures drawn by hand, then the errors."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from attnjax import align
from experiments.cli import alignments as terminal
from experiments.cli.alignments import draw_alignment

no_deadline = settings(deadline=None)  # the machine may be busy
word = st.text("ab,é日曜ー한é\u0301", max_size=9)


@no_deadline
@given(
    st.lists(word, min_size=1, max_size=23),
    st.lists(word, min_size=1, max_size=5),
    st.integers(12, 61),
    st.booleans(),
)
def test_no_line_exceeds_the_width(sources, targets, width, marked):
    weights = np.random.default_rng(0).uniform(size=(len(targets), len(sources)))
    gold = align.alignment([(0, 0)]) if marked else None
    text = draw_alignment(weights, sources, targets, gold=gold, width=width)
    assert max(map(cell_len, text.split("\n"))) <= width


@no_deadline
@given(st.integers(1, 40), st.integers(12, 100))
def test_every_cell_is_drawn_once_after_folding(sources, width):
    words = ["s"] * sources
    text = draw_alignment(np.ones((3, sources)), words, ["a", "b", "c"], width=width)
    assert text.count("█") == 2 * 3 * sources
    assert text.count("s") == sources


def test_a_larger_weight_is_never_lighter():
    weights = np.linspace(0, 1, 101)[None]
    row = draw_alignment(weights, [" "] * 101, ["t"], width=300).split("\n")[-1]
    levels = [terminal.SHADES.index(c) for c in row[2:].ljust(202)[::2]]
    assert levels == sorted(levels)
    assert set(levels) == {0, 1, 2, 3, 4}


def test_source_words_are_above_their_columns():
    got = draw_alignment(
        [[0.04, 0.3, 1.0], [0.1, 0.6, 0.0]], ["a", "the", ""], ["x", "yz"]
    )
    assert got.split("\n") == [
        "     t",
        "     h",
        "   a e",
        "x    ▒▒██",
        "yz ░░▓▓",
    ]


def test_wide_characters_take_two_cells():
    got = draw_alignment([[1.0, 0.0], [0.0, 1.0]], ["日本", "e\u0301t"], ["曜日", "x"])
    assert got.split("\n") == [
        "     日e\u0301",
        "     本t",
        "曜日 ██",
        "x      ██",
    ]


def test_gold_is_marked_after_its_cell():
    gold = align.alignment([(1, 0)], possible=[(0, 1)])
    got = draw_alignment([[0.0, 1.0], [1.0, 0.0]], ["a", "b"], ["x", "y"], gold=gold)
    assert got.split("\n") == [
        "  a  b",
        "x    ██*",
        "y ██+",
        "* gold, + possible",
    ]


def test_long_words_are_cut():
    got = draw_alignment([[1.0]], ["abcdefghijklmnopq"], ["日" * 9], width=20)
    lines = got.split("\n")
    assert [line.strip() for line in lines[:-1]] == [*"abcdefghijklm", "…"]
    assert lines[-1] == "日日… ██"


def test_control_characters_are_replaced():
    got = draw_alignment([[1.0]], ["a\tb"], ["\x1b[31m\nx"])
    assert "\x1b" not in got
    assert "\t" not in got
    assert got.split("\n")[-1] == "�[31m�x ██"


@pytest.mark.parametrize(
    ("encoding", "want"), [("utf-8", "é ██"), ("ascii", "? ##"), ("latin-1", "é ##")]
)
def test_printing_uses_only_characters_of_the_encoding(encoding, want, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as file:
        terminal.print_alignment([[1.0]], ["a"], ["é"], file=file)
        file.flush()
        assert raw.getvalue().decode(encoding).split("\n") == ["  a", want, ""]


def test_printing_folds_at_the_width_of_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "15")
    terminal.print_alignment(np.ones((1, 20)), ["s"] * 20, ["t"])
    lines = capsys.readouterr().out.split("\n")
    assert max(map(cell_len, lines)) == 14  # 2 and 6 columns of 2
    assert "".join(lines).count("█") == 40


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[1.0]], ["a"], ["b"]), {"width": 11}, "width: expected at least 12 cells"),
        (([[1.0]], ["a"], ["b"]), {"shades": " #"}, "shades: expected 5 characters"),
        (([[1.0]], ["a", "b"], ["c"]), {}, "source_words: expected 1 words, got 2"),
        (([[1.0]], ["a"], []), {}, "target_words: expected 1 words, got 0"),
        (([[2.0]], ["a"], ["b"]), {}, "weights: expected values from 0 to 1, got 2"),
    ],
)
def test_a_wrong_argument_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        draw_alignment(*arguments, **options)
