"""Laws of links, then cases computed by hand, then published alignments.

`test_align_errors.py` tests the error messages.
"""

import gzip
import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnjax import align
from attnjax.align import _symmetrise

METHODS = _symmetrise._METHODS
each_method = pytest.mark.parametrize("method", METHODS)
each_grow = pytest.mark.parametrize("grow", ["either", "both"])

unhurried = settings(deadline=None)  # the machine may be busy
link = st.tuples(st.integers(0, 6), st.integers(0, 4))
links = st.builds(align.alignment, st.sets(link), st.sets(link))
corpus = st.lists(st.tuples(links, links), max_size=5)

KINDS = {  # kind of a published file -> its method; None for one direction
    "forward": None,
    "reverse": None,
    "intersection": "intersection",
    "union": "union",
    "grow-diagonal": "grow-diag",
    "grow-diagonal-final": "grow-diag-final-and",
}
FILES = [
    f"{tool}.{pair}.{kind}.talp"
    for tool in ("fastalign", "giza")
    for pair in ("de-en", "en-fr")
    for kind in KINDS
]


def weights_of(seed, targets, sources):
    """Softmax-like weights: positive rows that sum to one."""
    return np.random.default_rng(seed).dirichlet(np.ones(sources), size=targets)


# Laws.


@unhurried
@given(links)
def test_parsing_inverts_formatting(pair):
    assert align.parse_pharaoh(align.format_pharaoh(pair)) == pair


@pytest.mark.parametrize("name", ["links.talp", "links.talp.gz"])
@unhurried
@given(st.lists(links))
def test_reading_inverts_writing(tmp_path_factory, name, pairs):
    path = tmp_path_factory.mktemp("pharaoh") / name
    align.write_pharaoh(path, pairs)
    assert align.read_pharaoh(path) == pairs
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_a_byte_order_mark_is_no_part_of_a_link(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf0-1 2-2\n")
    assert align.read_pharaoh(tmp_path / "a") == [align.alignment([(0, 1), (2, 2)])]
    (tmp_path / "b").write_bytes(b"\xef\xbb\xbf0-1\n\xff")
    with pytest.raises(ValueError, match=r"b:2: .* got the byte 0xff"):
        align.read_pharaoh(tmp_path / "b")


def test_gzip_is_detected_by_its_bytes_and_has_no_time_stamp(tmp_path):
    align.write_pharaoh(tmp_path / "a.gz", [[(0, 1)]])
    data = (tmp_path / "a.gz").read_bytes()
    assert gzip.decompress(data) == b"0-1\n"
    assert data[4:8] == bytes(4)  # time stamp of the header
    (tmp_path / "no-suffix").write_bytes(data)
    assert align.read_pharaoh(tmp_path / "no-suffix") == [align.alignment([(0, 1)])]


def test_windows_line_ends_and_empty_lines_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"0-0\r\n\r\n1p2")
    empty = align.alignment([])
    want = [align.alignment([(0, 0)]), empty, align.alignment([], [(1, 2)])]
    assert align.read_pharaoh(tmp_path / "a", lengths=[(1, 1), (0, 0), (2, 3)]) == want


def test_a_repeated_link_is_sure_if_one_of_them_is():
    assert align.parse_pharaoh("1p1 1-1").sure == {(1, 1)}
    assert align.format_pharaoh([(2, 0), (0, 3)]) == "0-3 2-0"


@unhurried
@given(corpus)
def test_scores_are_ratios(pairs):
    hypotheses, gold = [a for a, _ in pairs], [b for _, b in pairs]
    score = align.alignment_error_rate(hypotheses, gold)
    assert all(0 <= value <= 1 for value in score[:3])


@unhurried
@given(st.lists(links))
def test_proposing_the_sure_links_is_perfect(gold):
    sure = [align.alignment(g.sure) for g in gold]
    assert align.alignment_error_rate(sure, gold)[:3] == (0.0, 1.0, 1.0)


@unhurried
@given(corpus)
def test_without_possible_links_aer_is_one_minus_f1(pairs):
    gold = [align.alignment(g.sure) for _, g in pairs]
    aer, precision, recall, n = align.alignment_error_rate([h for h, _ in pairs], gold)
    if n and sum(len(g.sure) for g in gold) and precision + recall > 0:
        f1 = 2 * precision * recall / (precision + recall)
        assert aer == pytest.approx(1 - f1)


@unhurried
@given(links, links)
@each_method
@each_grow
def test_symmetrised_links_lie_between_intersection_and_union(method, grow, a, b):
    got = align.symmetrise(a, b, method=method, grow=grow)
    assert a.possible & b.possible <= got.sure <= a.possible | b.possible
    assert got.sure == got.possible


@unhurried
@given(links)
@each_method
def test_symmetrising_equal_directions_changes_nothing(method, a):
    assert align.symmetrise(a, a, method=method).sure == a.possible


@unhurried
@given(links, links)
def test_grow_diag_final_links_every_word_that_either_direction_links(a, b):
    union, got = a.possible | b.possible, align.symmetrise(a, b, method=METHODS[3]).sure
    for side in (0, 1):
        assert {x[side] for x in got} == {x[side] for x in union}


@unhurried
@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 5))
def test_every_target_has_one_link_to_its_largest_weight(seed, targets, sources):
    weights = weights_of(seed, targets, sources)
    pairs = {j: i for i, j in align.hard_alignment(weights).sure}
    assert set(pairs) == set(range(targets))
    assert all(weights[j, i] == weights[j].max() for j, i in pairs.items())


@unhurried
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_a_hard_link_above_the_threshold_is_a_sparse_link(seed, threshold):
    weights = weights_of(seed, 7, 3)
    hard = align.hard_alignment(weights, threshold=threshold).sure
    assert hard <= align.sparse_alignment(weights, threshold=threshold).sure
    assert all(weights[j, i] > threshold for i, j in hard)


def test_a_row_of_zeros_has_no_link():
    weights = np.array([[0.0, 0.0], [0.3, 0.7]])
    assert align.hard_alignment(weights).sure == {(1, 1)}
    assert align.sparse_alignment(np.zeros((3, 2))).sure == set()
    assert align.hard_alignment(np.zeros((3, 0))).sure == set()


def test_dropped_rows_and_columns_have_no_links_and_keep_positions():
    weights = [[0.3, 0.1, 0.6], [0.1, 0.2, 0.7], [0.0, 0.0, 1.0]]
    got = align.hard_alignment(weights, drop_source=[-1], drop_target=[1])
    assert got.sure == {(0, 0)}
    got = align.sparse_alignment(weights, threshold=0.1, drop_source=[0])
    assert got.sure == {(2, 0), (1, 1), (2, 1), (2, 2)}


def test_equal_weights_link_to_the_first():
    assert align.hard_alignment([[0.2, 0.4, 0.4]]).sure == {(1, 0)}


def test_jax_arrays_of_low_precision_are_accepted():
    weights = jnp.asarray([[0.25, 0.75]], jnp.bfloat16)
    assert align.hard_alignment(weights).sure == {(1, 0)}


@unhurried
@given(st.integers(0, 2**31))
def test_merging_keeps_the_sum_of_rows(seed):
    weights = weights_of(seed, 5, 7)
    got = align.merge_subwords(weights, [[0], [1, 2, 3], [4, 6], [5]], [[0, 1, 2], [4]])
    np.testing.assert_allclose(got.sum(axis=1), 1.0, rtol=1e-12)


@unhurried
@given(st.integers(0, 2**31))
def test_words_of_one_piece_change_nothing(seed):
    weights = weights_of(seed, 3, 5)
    singles = [[i] for i in range(5)], [[i] for i in range(3)]
    for how in ("mean", "max"):
        got = align.merge_subwords(weights, *singles, target=how)
        np.testing.assert_allclose(got, weights, rtol=1e-12)


# Computed by hand.


def test_merging_sums_over_the_source_and_averages_over_the_target():
    weights = np.array([[0.1, 0.3, 0.6], [0.5, 0.1, 0.4], [0.0, 0.0, 1.0]])
    source, target = [[0, 1]], [[0, 1], [2]]  # the last column is EOS, in no word
    got = align.merge_subwords(weights, source, target)
    np.testing.assert_allclose(got, [[0.5], [0.0]])  # (0.4 + 0.6) / 2
    got = align.merge_subwords(weights, [[0, 1], [2]], target, target="max")
    np.testing.assert_allclose(got, [[0.5, 0.5], [0.0, 1.0]])  # 0.6 and 0.6 of 1.2


def test_error_rate_of_a_case_by_hand():
    # A = 5 links, S = 3, P = 5; A and S share 2, A and P share 3.
    system = [align.parse_pharaoh("0-0 1-1"), align.parse_pharaoh("0-1 1-0 2-2")]
    gold = [align.parse_pharaoh("0-0 1p1 2p1"), align.parse_pharaoh("0-0 2-2")]
    got = align.alignment_error_rate(system, gold)
    assert got == align.AlignmentScore(1 - 5 / 8, 3 / 5, 2 / 3, 5)


def test_error_rates_without_links():
    none, some = align.alignment([]), align.alignment([(0, 0)])
    rate = align.alignment_error_rate
    assert rate([], []) == rate([none], [none]) == (0.0, 1.0, 1.0, 0)
    assert rate([none], [some]) == (1.0, 0.0, 0.0, 0)
    assert rate([some], [none]) == (1.0, 0.0, 0.0, 1)


FORWARD = align.parse_pharaoh("0-0 1-1 1-2 4-4 6-0")
REVERSE = align.parse_pharaoh("0-0 1-1 2-2 5-3 0-1")


@pytest.mark.parametrize(
    ("method", "grow", "want"),
    [
        ("intersection", "either", "0-0 1-1"),
        ("union", "either", "0-0 0-1 1-1 1-2 2-2 4-4 5-3 6-0"),
        # 1-2 is a neighbour of 1-1, and target 2 is unaligned; then 2-2, for source 2;
        # both words of 0-1 are aligned; 4-4, 5-3 and 6-0 have no neighbour.
        ("grow-diag", "either", "0-0 1-1 1-2 2-2"),
        ("grow-diag-final", "either", "0-0 1-1 1-2 2-2 4-4 5-3 6-0"),
        ("grow-diag-final-and", "either", "0-0 1-1 1-2 2-2 4-4 5-3"),
        ("grow-diag", "both", "0-0 1-1 2-2"),
        ("grow-diag-final", "both", "0-0 1-1 2-2 4-4 5-3 6-0"),
        ("grow-diag-final-and", "both", "0-0 1-1 2-2 4-4 5-3"),
    ],
)
def test_symmetrising_a_case_by_hand(method, grow, want):
    got = align.symmetrise(FORWARD, REVERSE, method=method, grow=grow)
    assert align.format_pharaoh(got) == want


# Published alignments.


def read(shared, name, folder="hypotheses"):
    return align.read_pharaoh(shared / "data" / "word-alignment" / folder / name)


@pytest.mark.parametrize("name", FILES)
def test_published_alignments_have_their_published_error_rates(shared, name):
    file = shared / "data" / "word-alignment" / "hypotheses" / "expected_aer.json"
    want = json.loads(file.read_text())[name]
    gold = read(shared, "test.talp", folder=name.split(".")[1])
    got = align.alignment_error_rate(read(shared, name + ".gz"), gold)
    assert got.links == want["n_links"]
    for ours in ("aer", "precision", "recall"):
        assert getattr(got, ours) == pytest.approx(want[ours], abs=5.1e-7)


def test_every_published_file_is_tested(shared):
    file = shared / "data" / "word-alignment" / "hypotheses" / "expected_aer.json"
    assert sorted(FILES) == sorted(json.loads(file.read_text()))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind]])
@pytest.mark.parametrize("pair", ["de-en", "en-fr"])
@pytest.mark.parametrize("tool", ["fastalign", "giza"])
def test_symmetrising_gives_the_published_files(shared, monkeypatch, tool, pair, kind):
    # lilt's script grows only where both words are unaligned, and its "final" is
    # "final-and". It visits neighbours in the order of a Python set. This order
    # reproduces every line; that of Moses reproduces 1900 of 1910.
    order = (-1, 0), (0, -1), (1, 0), (0, 1), (-1, 1), (-1, -1), (1, -1), (1, 1)
    monkeypatch.setattr(_symmetrise, "_NEIGHBOURS", order)
    forward, reverse, want = (
        read(shared, f"{tool}.{pair}.{k}.talp.gz") for k in ("forward", "reverse", kind)
    )
    got = [
        align.symmetrise(a, b, method=KINDS[kind], grow="both")
        for a, b in zip(forward, reverse, strict=True)
    ]
    assert got == want


def test_published_gold_links_lie_within_their_sentences(shared):
    for pair in ("de-en", "en-cs", "en-fr"):
        folder = shared / "data" / "word-alignment" / pair
        texts = (
            (folder / f"test.{side}").read_text("utf-8").split("\n")[:-1]
            for side in pair.split("-")
        )
        sides = ([len(line.split()) for line in text] for text in texts)
        align.read_pharaoh(folder / "test.talp", lengths=zip(*sides, strict=True))
