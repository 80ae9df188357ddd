"""Error rates by hand, and against an edit distance of our own."""

import numpy as np
import pytest

from experiments.transduce.scores import error_rates


def edits(a, b):
    """Levenshtein's recursion over prefixes, as a table."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0] = range(len(a) + 1), range(len(b) + 1)
    for i in range(len(a)):
        for j in range(len(b)):
            table[i + 1, j + 1] = min(
                table[i, j] + (a[i] != b[j]), table[i, j + 1] + 1, table[i + 1, j] + 1
            )
    return table[-1, -1]


def test_rates_are_pooled_over_words():
    """2 edits of 1 phone and 0 of 9: 2 / 10, not the mean of 2 and 0."""
    nine = list("abcdefghi")
    found = error_rates([["x", "y"], nine], [[["z"]], [nine]])
    assert found == (0.5, 0.2)


def test_any_reading_may_match():
    readings = [["R", "IY", "D"], ["R", "EH", "D"]]
    assert error_rates([["R", "EH", "D"]], [readings]) == (0.0, 0.0)
    assert error_rates([["R", "EH", "T"]], [readings]) == (1.0, 1 / 3)


def test_of_equally_near_readings_the_longest_counts():
    assert error_rates([["A", "B"]], [[["A"], ["A", "B", "C"]]]).per == 1 / 3


def test_an_empty_output_has_all_edits():
    assert error_rates([[]], [[["A", "B"]]]) == (1.0, 1.0)


def test_symbols_of_several_letters_are_one():
    assert error_rates([["AH", "T"]], [[["A", "HT"]]]).per == 1.0


def test_edits_are_those_of_the_recursion():
    rng = np.random.default_rng(0)
    for _ in range(100):
        a, b = (list(map(str, rng.integers(0, 3, rng.integers(1, 8)))) for _ in "ab")
        assert error_rates([a], [[b]]).per == edits(a, b) / len(b)


def test_lengths_are_checked():
    with pytest.raises(ValueError, match="outputs: expected as many as references"):
        error_rates([["A"]], [])
    with pytest.raises(ValueError, match="at least one, got 0 and 0"):
        error_rates([], [])
