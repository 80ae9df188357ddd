"""The five tasks: what is asked, what is expected, and when."""

import dataclasses

import numpy as np
import pytest

from experiments.algorithms.sequences import (
    AssociativeRecall,
    Copy,
    DynamicNGrams,
    PrioritySort,
    RepeatCopy,
)
from experiments.errors import UserError

TASKS = {
    "copy": Copy(bits=3, max_length=5),
    "repeat copy": RepeatCopy(bits=3, max_length=4, max_repeats=3),
    "recall": AssociativeRecall(bits=3, item_length=2, max_items=5),
    "n-grams": DynamicNGrams(context=2, length=13),
    "sort": PrioritySort(bits=3, given=7, expected=5),
}
each_task = pytest.mark.parametrize("name", TASKS)


def generate(task, count=50, seed=0):
    return task.generate(np.random.default_rng(seed), count)


@each_task
def test_shapes_and_values_are_those_of_bits(name):
    task = TASKS[name]
    batch = generate(task)
    B, T, _ = batch.inputs.shape
    assert batch.inputs.shape == (B, T, task.input_dim)
    assert batch.targets.shape == (B, T, task.output_dim)
    assert batch.mask.shape == (B, T)
    assert batch.mask.any(axis=1).all()
    assert set(np.unique(batch.targets)) <= {0.0, 1.0}
    assert batch.inputs.dtype == batch.targets.dtype == np.float32
    # What is not predicted has no target.
    if name != "n-grams":
        assert not batch.targets[~batch.mask].any()


@each_task
def test_the_generator_decides_everything(name):
    task = TASKS[name]
    for a, b in zip(generate(task, seed=3), generate(task, seed=3), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (generate(task, seed=3).inputs != generate(task, seed=4).inputs).any()


@each_task
def test_no_answer_is_given_with_the_question(name):
    """While an answer is expected there is no input, but for N-grams."""
    batch = generate(TASKS[name])
    if name != "n-grams":
        assert not batch.inputs[batch.mask].any()


def test_copies_are_what_came_before_the_delimiter():
    batch = generate(TASKS["copy"], 200)
    lengths = batch.mask.sum(axis=1)
    assert set(lengths) == {1, 2, 3, 4, 5}  # both ends belong to the range
    for x, y, mask, n in zip(*batch, lengths, strict=True):
        assert x[:, -1].tolist() == np.eye(11)[n].tolist()  # one delimiter
        np.testing.assert_array_equal(y[mask], x[:n, :-1])
        assert np.nonzero(mask)[0].tolist() == list(range(n + 1, 2 * n + 1))


def test_repeated_copies_end_with_one_marker():
    task = TASKS["repeat copy"]
    batch = generate(task, 300)
    seen = set()
    for x, y, mask in zip(*batch, strict=True):
        (n,) = np.nonzero(x[:, 3])[0]
        answer = y[mask]
        repeats = (len(answer) - 1) // n
        seen.add((n, repeats))
        want = np.tile(x[:n, :3], (repeats, 1))
        np.testing.assert_array_equal(answer[:-1, :3], want)
        assert answer[:, 3].tolist() == [0.0] * (n * repeats) + [1.0]
        assert not answer[-1, :3].any()
        np.testing.assert_allclose(x[n, 4], (repeats - 2) / np.sqrt(2 / 3), rtol=1e-6)
        assert np.nonzero(mask)[0][0] == n + 1
    assert seen == {(n, r) for n in range(1, 5) for r in range(1, 4)}


def test_repeats_are_normalised_as_in_training_everywhere():
    task = RepeatCopy()
    counts = np.arange(1, 11)
    np.testing.assert_allclose(task.normalize(counts).mean(), 0, atol=1e-12)
    np.testing.assert_allclose(task.normalize(counts).std(), 1, rtol=1e-12)
    for harder in task.generalizations().values():
        assert harder.normalize(np.array([10.0])) == task.normalize(np.array([10.0]))
    assert RepeatCopy(min_repeats=3, max_repeats=3).normalize(np.array([3])) == [0]


def test_the_item_after_the_query_is_recalled():
    task, L = TASKS["recall"], 2
    batch = generate(task, 400)
    counts, asked = set(), set()
    for x, y, mask in zip(*batch, strict=True):
        starts = np.nonzero(x[:, 3])[0]
        first, second = np.nonzero(x[:, 4])[0]
        items = [x[s + 1 : s + 1 + L, :3] for s in starts]
        assert first == len(items) * (1 + L)
        assert second == first + 1 + L
        query = x[first + 1 : second, :3]
        answer = y[mask]
        places = [
            n
            for n in range(len(items) - 1)
            if (items[n] == query).all() and (items[n + 1] == answer).all()
        ]
        assert places
        counts.add(len(items))
        if len(places) == 1:
            asked.add((len(items), places[0]))
        assert np.nonzero(mask)[0].tolist() == [second + 1, second + 2]
    assert counts == {2, 3, 4, 5}  # both ends belong to the range
    # Every item but the last is asked for.
    assert asked == {(n, k) for n in range(2, 6) for k in range(n - 1)}


def test_bits_follow_a_table_that_is_new_in_each_sequence():
    task = DynamicNGrams(context=1, length=4000)
    batch = generate(task, 40)
    bits = batch.inputs[..., 0]
    np.testing.assert_array_equal(bits[:, 1:], batch.targets[:, :-1, 0])
    ones = np.stack(
        [
            [batch.targets[b, bits[b] == c, 0].mean() for c in (0, 1)]
            for b in range(40)
            if 100 < bits[b].sum() < 3900
        ]
    )
    assert len(ones) > 15
    assert ones.std(axis=0).min() > 0.15  # Beta(1/2, 1/2) has 0.35
    assert batch.mask.all()  # with one bit of context all others are predicted


def test_bits_without_a_whole_context_are_not_predicted():
    batch = generate(DynamicNGrams(), 2)
    assert batch.inputs.shape == (2, 199, 1)
    assert batch.mask.sum(axis=1).tolist() == [195, 195]
    assert not batch.mask[:, :4].any()


def test_the_optimal_estimator_counts_as_murphy_says():
    """By Bayes' rule on a grid of probabilities, context by context."""
    task = DynamicNGrams(context=2, length=13)
    batch = generate(task, 3)
    p = (np.arange(20_000) + 0.5) / 20_000
    prior = (p * (1 - p)) ** -0.5
    for b in range(3):
        bits = [int(batch.inputs[b, 0, 0]), *batch.targets[b, :, 0].astype(int)]
        posterior = {(i, j): prior.copy() for i in (0, 1) for j in (0, 1)}
        cost = 0.0
        for t in range(2, 13):
            here = posterior[bits[t - 2], bits[t - 1]]
            likelihood = p if bits[t] else 1 - p
            cost -= np.log2((here * likelihood).sum() / here.sum())
            here *= likelihood
        np.testing.assert_allclose(task.optimal_bits(batch)[b], cost, rtol=1e-2)


def test_the_optimum_is_the_published_one():
    task = DynamicNGrams()
    costs = task.optimal_bits(generate(task, 1500))
    # About 129 bits over the predicted ones, with a deviation of 36 between tables.
    assert abs(costs.mean() - 129) < 4 * 36 / np.sqrt(1500)


def test_the_highest_priorities_come_first():
    batch = generate(TASKS["sort"])
    for x, y, mask in zip(*batch, strict=True):
        assert x[:, 4].tolist() == np.eye(13)[7].tolist()
        order = np.argsort(-x[:7, 3])[:5]
        np.testing.assert_array_equal(y[mask], x[order, :3])
        assert np.abs(x[:7, 3]).max() <= 1


@pytest.mark.parametrize(
    ("task", "least"),
    [
        (Copy(), 120),
        (RepeatCopy(), 200),
        (AssociativeRecall(), 3),
        (PrioritySort(), 16),
    ],
)
def test_generalizations_are_harder_than_training(task, least):
    most = max(
        generate(harder, 2).mask.sum(axis=1).max()
        for harder in task.generalizations().values()
    )
    assert most >= least
    assert least >= generate(task, 20).mask.sum(axis=1).max() or task == RepeatCopy()


@pytest.mark.parametrize("items", [2, 6, 7, 20, 25])
def test_recall_is_evaluated_on_its_own_longest_first(items):
    first, *harder = AssociativeRecall(max_items=items).generalizations().values()
    assert (first.min_items, first.max_items) == (items, items)
    assert all(task.min_items > items for task in harder)


@each_task
def test_a_curriculum_begins_short_and_ends_with_the_task(name):
    task = TASKS[name]
    levels = [task.eased(share) for share in np.linspace(0, 1, 23)]
    assert levels[-1] == task or dataclasses.replace(
        levels[-1], trained_repeats=None
    ) == task  # fmt: skip
    lengths = [generate(level, 5).inputs.shape[1] for level in levels]
    assert lengths == sorted(lengths)
    assert (lengths[0] < lengths[-1]) == (name != "n-grams")
    for level in levels:
        found, whole = generate(level, 5), generate(task, 5)
        assert found.inputs.shape[2] == whole.inputs.shape[2]
        assert found.mask.any(axis=1).all()


def test_repeated_copying_begins_with_copying_once_at_every_length():
    task = RepeatCopy(max_length=4, max_repeats=3)
    shares = (0, 0.3, 0.5, 0.6, 0.7, 0.8, 1)
    repeats = [task.eased(share).max_repeats for share in shares]
    assert repeats == [1, 1, 1, 2, 2, 3, 3]
    assert {task.eased(share).max_length for share in (0, 0.5, 1)} == {4}


def test_the_number_of_repeats_means_the_same_at_every_level():
    task = RepeatCopy(max_repeats=10)
    low = task.eased(0)
    np.testing.assert_array_equal(
        low.normalize(np.array([2])), task.normalize(np.array([2]))
    )


@pytest.mark.parametrize(
    ("task", "wrong", "message"),
    [
        (
            Copy,
            {"min_length": 3, "max_length": 2},
            "min_length, max_length: expected 1",
        ),
        (RepeatCopy, {"min_repeats": 0}, "min_repeats, max_repeats: expected 1"),
        (AssociativeRecall, {"min_items": 1}, "min_items, max_items: expected 2"),
        (DynamicNGrams, {"length": 5}, "length: expected more than the context of 5"),
        (PrioritySort, {"expected": 21}, "expected: expected 1 to 20 vectors, got 21"),
    ],
)
def test_empty_ranges_are_refused(task, wrong, message):
    with pytest.raises(UserError, match=message):
        task(**wrong)
