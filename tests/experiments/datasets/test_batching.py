"""Batches: each example once per epoch; a pure function of the step; little padding."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.datasets.pairs.batching import Batch, output_limits
from experiments.datasets.pairs.bucketing import (
    Shape,
    assign_buckets,
    choose_shapes,
    plan_leftovers,
)
from experiments.datasets.pairs.evaluation_batches import (
    evaluation_batches,
    padded_length,
    source_batches,
)
from experiments.datasets.pairs.tokenized import TokenizedPairs, tokenize_pairs
from experiments.datasets.pairs.training_batches import TokenBatches
from experiments.datasets.tokenizers.sentences import EOS, PAD, WordVocabulary
from experiments.errors import UserError

sides = st.integers(0, 13)
many_lengths = st.lists(st.tuples(sides, sides), min_size=1, max_size=97)
seeds = st.integers(0, 2**64 - 1)
quick = settings(deadline=None, max_examples=60)


def make(lengths):
    """Makes examples of given lengths; their ids tell which example they belong to."""
    return [([10 + i] * s, [10 + i] * t) for i, (s, t) in enumerate(lengths)]


def some(count=101, seed=5):
    """Makes examples whose sides have similar lengths, like sentences."""
    draw = np.random.default_rng(seed)
    base = draw.integers(1, 20, count)
    return make([(n, max(1, n + draw.integers(-3, 4))) for n in base.tolist()])


def rows_of(batch):
    """Returns the examples in a batch; checks that each is ids, EOS, PAD."""
    found = []
    for row in zip(*batch, strict=True):
        pair = []
        for ids in row:
            kept = ids[ids != PAD].tolist()
            assert (ids[len(kept) :] == PAD).all()
            if kept:
                assert kept.pop() == EOS
                pair.append(kept)
        if pair:
            found.append(tuple(pair))
    return found


def equal(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@quick
@given(lengths=many_lengths, seed=seeds, buckets=st.integers(1, 5), epoch=sides)
def test_every_example_is_in_one_batch_of_every_epoch(lengths, seed, buckets, epoch):
    examples = make(lengths)
    batches = TokenBatches(examples, batch_tokens=64, seed=seed, buckets=buckets)
    n = batches.batches_per_epoch
    found = []
    for step in range(epoch * n, (epoch + 1) * n):
        batch = batches.batch(step)
        shape = Shape(*batch.source.shape, batch.target.shape[1])
        assert shape in batches.shapes
        assert shape.rows * max(shape.source, shape.target) <= 64
        assert batch.source.dtype == batch.target.dtype == np.int32
        found += rows_of(batch)
    assert sorted(found) == sorted(examples)
    assert len(batches.shapes) <= buckets
    assert batches.dropped == 0


@settings(quick, max_examples=20)  # each iterates with threads
@given(seed=seeds, start=st.integers(0, 40), processes=st.sampled_from([1, 2, 3, 6]))
def test_resuming_at_any_step_on_any_number_of_processes_gives_the_same_batches(
    seed, start, processes
):
    def new():
        return TokenBatches(some(), batch_tokens=192, seed=seed, row_multiple=6)

    through = list(new().iterate(0, start + 4))
    for process in range(processes):
        rows = new().iterate(
            start, start + 4, process_index=process, process_count=processes
        )
        for whole, mine in zip(through[start:], rows, strict=True):
            share = len(whole.source) // processes
            part = slice(process * share, (process + 1) * share)
            assert equal(mine, Batch(whole.source[part], whole.target[part]))


def test_prefetching_yields_the_batches_of_the_steps_endlessly():
    batches = TokenBatches(some(), batch_tokens=128)
    n = batches.batches_per_epoch
    ahead = batches.iterate(n - 2)
    for step, batch in zip(range(n - 2, 3 * n), ahead, strict=False):
        assert equal(batch, batches.batch(step))


def test_order_differs_between_epochs_and_between_seeds():
    one, two = (TokenBatches(some(), batch_tokens=128, seed=seed) for seed in (1, 2))
    n = one.batches_per_epoch
    orders = [
        [tuple(batches.indices(step)[1]) for step in range(start, start + n)]
        for batches, start in ((one, 0), (one, n), (two, 0))
    ]
    for a, b in itertools.combinations(orders, 2):
        assert a != b
        assert set(a) != set(b)  # nor the same batches in another order


def test_order_is_pinned():
    # Computed by this code, numpy 2.4.6. Another order would change resumed runs.
    batches = TokenBatches(make([(3, 3)] * 7), batch_tokens=16, seed=3)
    order = [batches.indices(step)[1].tolist() for step in range(4)]
    assert order == [[4, 3, 0, -1], [6, 1, 5, 2], [3, 5, 6, 4], [0, 2, 1, -1]]


class Recorded(list):
    """Examples that record which of them are read."""

    def __init__(self, examples):
        super().__init__(examples)
        self.lengths = np.array([(len(s), len(t)) for s, t in examples])
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        return super().__getitem__(index)


def test_a_process_reads_only_its_rows():
    examples = Recorded(some())
    batches = TokenBatches(examples, batch_tokens=128, row_multiple=2)
    assert examples.read == []
    _, indices = batches.indices(5)
    batches.process_batch(5, 1, 2)
    mine = indices[len(indices) // 2 :]
    assert examples.read == [i for i in mine.tolist() if i >= 0]


@quick
@given(lengths=many_lengths, longest=sides)
def test_long_examples_are_dropped_and_counted(lengths, longest):
    examples = make(lengths)
    short = [e for e in examples if max(map(len, e)) <= longest]
    if not short:
        with pytest.raises(UserError, match="data: expected examples that are short"):
            TokenBatches(examples, batch_tokens=64, max_length=longest)
        return
    batches = TokenBatches(examples, batch_tokens=64, max_length=longest)
    steps = range(batches.batches_per_epoch)
    found = [row for step in steps for row in rows_of(batches.batch(step))]
    assert sorted(found) == sorted(short)
    assert batches.dropped == len(examples) - len(short)
    assert batches.target_tokens == sum(len(target) + 1 for _, target in short)


def test_given_shapes_are_used_and_what_fits_none_is_dropped():
    shapes = [Shape(4, 9, 9), Shape(8, 5, 5)]
    batches = TokenBatches(
        make([(4, 4), (8, 2), (9, 2)]), batch_tokens=1, shapes=shapes
    )
    assert batches.shapes == (Shape(8, 5, 5), Shape(4, 9, 9))
    assert batches.dropped == 1


def test_efficiency_is_the_share_of_positions_that_hold_tokens():
    batches = TokenBatches(some(), batch_tokens=128)
    every = [batches.batch(step) for step in range(batches.batches_per_epoch)]
    ids = sum((side != PAD).sum() for batch in every for side in batch)
    positions = sum(side.size for batch in every for side in batch)
    assert batches.efficiency == pytest.approx(ids / positions, rel=1e-12)


def test_bucketing_keeps_padding_low_on_sentences_of_typical_lengths():
    # Mean length, spread and correlation of the sides are about those of Multi30k.
    draw = np.random.default_rng(7)
    base = draw.gamma(9.0, 1.5, 28_999)
    sides = base[:, None] + draw.normal(0, 1.5, (28_999, 2))
    examples = Recorded([])
    examples.lengths = np.clip(sides.round(), 1, 60).astype(int)
    assert TokenBatches(examples, batch_tokens=2048, buckets=8).efficiency >= 0.85
    assert TokenBatches(examples, batch_tokens=2048, buckets=1).efficiency < 0.5


@quick
@given(lengths=many_lengths, buckets=st.integers(1, 7))
def test_every_example_has_the_cheapest_shape_it_fits(lengths, buckets):
    lengths = np.array(lengths) + 1
    shapes = choose_shapes(lengths, batch_tokens=64, buckets=buckets)
    for pair, index in zip(lengths, assign_buckets(lengths, shapes), strict=True):
        fitting = [
            s.cost for s in shapes if s.source >= pair[0] and s.target >= pair[1]
        ]
        assert shapes[index].cost == min(fitting)


def test_assign_buckets_marks_examples_that_fit_no_shape():
    assert assign_buckets(np.array([(3, 5), (6, 5)]), [Shape(1, 5, 5)]).tolist() == [
        0,
        -1,
    ]


def test_leftovers_move_only_where_that_saves_positions():
    small, large = Shape(8, 4, 4), Shape(4, 9, 9)
    # By hand: one left-over example costs a batch of 8 x 8 = 64 positions. A batch of
    # the larger shape with free rows takes it at no cost; a new one costs 4 x 18 = 72.
    assert plan_leftovers([9, 2], [small, large]) == [(0, 1, 1)]
    assert plan_leftovers([9, 4], [small, large]) == []
    assert plan_leftovers([9, 2], [small, Shape(4, 9, 3)]) == []  # does not fit there


@pytest.mark.parametrize("process_count", [2, 4])
def test_rows_that_processes_cannot_divide_equally_are_refused(process_count):
    batches = TokenBatches(make([(3, 3)] * 7), batch_tokens=12, row_multiple=3)
    with pytest.raises(
        ValueError,
        match=f"process_count: expected a divisor of 3 rows, got {process_count}",
    ):
        batches.process_batch(0, 0, process_count)


def test_a_token_budget_too_small_for_the_longest_example_is_refused():
    with pytest.raises(
        UserError,
        match=r"batch_tokens: expected at least 18 \(2 rows of 9 positions\), got 17",
    ):
        TokenBatches(make([(8, 2)]), batch_tokens=17, row_multiple=2)


def test_no_examples_to_train_on_are_refused():
    with pytest.raises(UserError, match="none among 0"):
        TokenBatches([], batch_tokens=64)


@quick
@given(lengths=many_lengths)
def test_evaluation_batches_hold_every_example_once_under_its_index(lengths):
    examples = make(lengths)
    shapes = [Shape(5, 7, 7), Shape(3, 14, 14)]
    seen = []
    for indices, batch in evaluation_batches(examples, shapes):
        assert (*batch.source.shape, batch.target.shape[1]) in shapes
        real = indices[indices >= 0].tolist()
        assert rows_of(batch) == [examples[i] for i in real]
        seen += real
    assert sorted(seen) == list(range(len(examples)))


def test_evaluation_batches_name_an_example_that_does_not_fit():
    with pytest.raises(UserError, match=r"example 1: .*\[\(2, 5, 5\)\], got \[6, 2\]"):
        list(evaluation_batches(make([(1, 1), (5, 1)]), [Shape(2, 5, 5)]))


@quick
@given(
    lengths=st.lists(st.integers(0, 71), max_size=53),
    rows=st.integers(1, 20),
    row_multiple=st.integers(1, 3),
)
def test_source_batches_hold_every_sentence_once(lengths, rows, row_multiple):
    sources = [[10 + i] * n for i, n in enumerate(lengths)]
    seen = []
    for indices, ids in source_batches(sources, rows=rows, row_multiple=row_multiple):
        assert len(ids) % row_multiple == 0
        assert len(ids) <= max(rows, row_multiple)
        assert ids.shape[1] == padded_length(ids.shape[1])
        for index, row in zip(indices.tolist(), ids, strict=True):
            kept = row[row != PAD].tolist()
            assert kept == ([*sources[index], EOS] if index >= 0 else [])
            seen += [index] * (index >= 0)
    assert sorted(seen) == list(range(len(sources)))


def test_one_sentence_makes_a_batch_of_one():
    ((indices, ids),) = source_batches([[7, 8]], rows=64)
    assert indices.tolist() == [0]
    assert ids.tolist() == [[7, 8, EOS, PAD, PAD, PAD, PAD, PAD]]


def test_tokenized_pairs_hold_the_ids_of_both_tokenisers():
    pairs = [("b a", "x", ""), ("", "y x", "0-0"), ("a", "", "")]
    source, target = WordVocabulary(["a", "b"]), WordVocabulary(["x", "y"])
    tokenized = tokenize_pairs(pairs, source, target)
    assert [(s.tolist(), t.tolist()) for s, t in tokenized] == [
        ([5, 4], [4]),
        ([], [5, 4]),
        ([4], []),
    ]
    assert tokenized.lengths.tolist() == [[2, 1], [0, 2], [1, 0]]
    assert len(tokenized) == 3


def test_sides_with_different_numbers_of_rows_are_refused():
    with pytest.raises(
        ValueError, match="targets: expected 2 rows as in sources, got 1"
    ):
        TokenizedPairs([[4], [5]], [[6]])


@pytest.mark.parametrize("ratio", [0.7, 1.1, 1.4, 2.3])
def test_the_limit_of_an_output_does_not_depend_on_its_batch(ratio):
    # In float32 some of these products, as 1.4 * 45, are other integers.
    for length in range(1, 101):
        alone, most = output_limits(jnp.array([length]), length, ratio=ratio, extra=3)
        both, _ = output_limits(jnp.array([length, 0]), 119, ratio=ratio, extra=3)
        assert alone[0] == both[0] == most == int(length * ratio) + 3
        assert both[1] == 0
