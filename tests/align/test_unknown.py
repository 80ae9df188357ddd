"""Replacing unknown words by their aligned source words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnjax import align

UNK = "<unk>"
SOURCE = ["Zoë", "wohnt", "in", "Ulm", "."]
words = st.lists(st.sampled_from([UNK, "lives", "in", "Ulm"]), max_size=7)


def weights_of(targets, seed=0):
    """Softmax-like weights [targets, 5]: positive rows that sum to one."""
    return np.random.default_rng(seed).dirichlet(np.ones(len(SOURCE)), size=targets)


@given(words, st.integers(0, 2**31))
def test_unknown_words_become_their_aligned_word_and_others_stay(target, seed):
    weights = weights_of(len(target), seed=seed)
    got = align.replace_unknown(SOURCE, target, weights, unk=UNK)
    for t, word in enumerate(target):
        aligned = max(range(len(SOURCE)), key=lambda s: weights[t, s])
        assert got[t] == (SOURCE[aligned] if word == UNK else word)
    assert len(got) == len(target)


@given(words, st.integers(0, 2**31))
def test_a_dictionary_translates_copied_words_only(target, seed):
    weights = weights_of(len(target), seed=seed)
    dictionary = {"wohnt": "lives", "lives": "wrong", "Ulm": "Ulm"}
    copied = align.replace_unknown(SOURCE, target, weights, unk=UNK)
    got = align.replace_unknown(SOURCE, target, weights, unk=UNK, dictionary=dictionary)
    for word, copy, translated in zip(target, copied, got, strict=True):
        assert translated == (dictionary.get(copy, copy) if word == UNK else word)


def test_a_row_of_zeros_stays_and_of_equal_weights_the_first_wins():
    weights = [[0.0, 0.0, 0.0], [0.2, 0.4, 0.4]]
    got = align.replace_unknown(["a", "b", "c"], [UNK, UNK], weights, unk=UNK)
    assert got == [UNK, "b"]


def test_either_side_may_be_empty():
    assert align.replace_unknown([], [UNK], np.zeros((1, 0)), unk=UNK) == [UNK]
    assert align.replace_unknown(SOURCE, [], np.zeros((0, 5)), unk=UNK) == []


@pytest.mark.parametrize(
    ("source", "target", "weights", "text"),
    [
        (
            SOURCE,
            [UNK],
            np.ones((2, 5)),
            r"target_words: expected 2 words, got 1 \(one per row of weights",
        ),
        (
            SOURCE[:4],
            [UNK],
            np.ones((1, 5)),
            r"source_words: expected 5 words, got 4 \(one per column of weights",
        ),
        (
            SOURCE,
            "unk",
            np.ones((3, 5)),
            "target_words: expected 3 words, got one string",
        ),
        (SOURCE, [UNK], np.ones(5), r"weights: expected shape \[T, S\], got \[5\]"),
    ],
)
def test_a_wrong_argument_is_named(source, target, weights, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        align.replace_unknown(source, target, weights, unk=UNK)
