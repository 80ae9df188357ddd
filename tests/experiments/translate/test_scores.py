"""Scores, word alignments, tables and the counter, one by one."""

import io
import time

import numpy as np
import pytest

from attnjax.align import format_pharaoh
from experiments.cli.progress_bar import ProgressBar
from experiments.cli.tables import print_table
from experiments.datasets.pairs.datasets import Pair
from experiments.datasets.tokenizers.sentences import SentencePiece, WordVocabulary
from experiments.translate.alignments import word_links, word_weights
from experiments.translate.scores import (
    length_ranges,
    score_alignments,
    score_corpus,
)


def pair_of(length: int, target: str = "x y z w v") -> Pair:
    return Pair("a " * length, target)


def test_perfect_hypotheses_score_perfectly():
    pairs = [pair_of(n) for n in (2, 3, 5, 7, 11, 13)]
    corpus = score_corpus(pairs, ["x  y z w v"] * 6)  # blanks do not count
    assert corpus.exact_match == 1
    np.testing.assert_allclose((corpus.bleu, corpus.chrf), 100)
    assert sum(bucket.count for bucket in corpus.by_length) == 6
    assert all(bucket.exact_match == 1 for bucket in corpus.by_length)


def test_each_range_of_lengths_is_scored_apart():
    pairs = [pair_of(n) for n in (2, 3, 11, 13)]
    texts = ["x y z w v", "x y z w v", "", "u u u u u"]
    corpus = score_corpus(pairs, texts, ranges=[(1, 5), (6, 10), (11, 20)])
    found = [(b.low, b.high, b.count, b.exact_match) for b in corpus.by_length]
    assert found == [(1, 5, 2, 1.0), (11, 20, 2, 0.0)]  # an empty range is left out
    assert corpus.exact_match == 0.5


@pytest.mark.parametrize("lengths", [[3], [3, 3, 3], [1, 2], list(range(1, 42))])
def test_ranges_cover_every_length_once(lengths):
    ranges = length_ranges([pair_of(n) for n in lengths])
    assert 1 <= len(ranges) <= 4
    for n in lengths:
        assert sum(low <= n <= high for low, high in ranges) == 1
    assert ranges[0][0] == min(lengths)
    assert ranges[-1][1] == max(lengths)


def test_pieces_are_merged_to_words_before_they_are_linked():
    text = ["low lower lowest", "new newer newest", "wide wider widest"] * 20
    source = SentencePiece.train(text, 22)
    target = WordVocabulary.train(text)
    given, written = "wider newest", "newer wide low"
    ids, words = source.tokenize(given), target.tokenize(written)
    assert len(ids) > 3  # there is something to merge
    groups = [*source.words(ids), [len(ids)]]
    reads = [1, 0, 2, 1]  # word for word, EOS last on both sides
    weights = np.zeros((4, len(ids) + 1))
    for t, word in enumerate(reads):
        weights[t, groups[word]] = 1 / len(groups[word])
    merged = word_weights(weights, (source, ids), (target, words))
    np.testing.assert_allclose(merged, np.eye(3)[reads], atol=1e-12)
    assert format_pharaoh(word_links(merged)) == "0-1 1-0"  # "low" reads EOS: no link
    score = score_alignments([merged], [Pair(given, written, "0-1 1-0 1-2")])
    np.testing.assert_allclose((score.recall, score.precision), (2 / 3, 1))


def test_a_model_that_reads_nothing_has_no_links():
    assert not word_links(np.zeros((3, 5))).sure
    assert not word_links(np.ones((1, 1))).sure


def test_a_table_is_aligned_where_there_is_no_terminal():
    file = io.StringIO()
    print_table(["a", "score"], [["日本", "1.5"], ["x", "10.25"]], file=file)
    assert file.getvalue() == "a     score\n日本    1.5\nx     10.25\n"


def test_short_work_is_counted_without_a_word(capsys):
    with ProgressBar("reading", 3, delay=60) as counter:
        for _ in range(3):
            counter.advance(1)
    assert capsys.readouterr().err == ""


def test_long_work_says_how_far_it_is(capsys):
    with ProgressBar("reading", 30, delay=0, interval=60) as counter:
        for _ in range(30):
            time.sleep(0.001)
            counter.advance(1)
    assert capsys.readouterr().err == "reading  1/30\n"
