"""bAbI's format and files: renumbered supports, answers of several words, bad lines."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from experiments.datasets.babi.babi_builder import TASKS, BAbI
from experiments.datasets.stories.arrays import (
    NO_SUPPORT,
    UNKNOWN,
    encode_questions,
)
from experiments.datasets.stories.batches import EpochBatches
from experiments.datasets.stories.datasets import TaskStory, hold_out
from experiments.datasets.stories.format import (
    parse_story,
    split_stories,
    split_words,
)
from experiments.datasets.stories.vocabulary import Vocabulary
from experiments.errors import UserError

STORY = """\
1 Mary got the milk.
2 John went to the hall.
3 Where is Mary? \thall\t2 1
4 Mary got the football.
5 What is Mary carrying?\tmilk,football\t1 4
1 Sumit is tired.
2 Where will sumit go?\tbedroom\t1
"""


def test_supports_count_facts_though_questions_have_numbers_too():
    first, second = split_stories(STORY.splitlines(), "file")
    story = parse_story(first)
    assert story.facts == (
        *("Mary got the milk.", "John went to the hall."),
        "Mary got the football.",
    )
    one, two = story.questions
    assert one == ("Where is Mary?", "hall", (1, 0), 2)
    # Fact 4 is the third; the answer of two words is one answer.
    assert two == ("What is Mary carrying?", "milk,football", (0, 2), 3)
    assert parse_story(second).questions[0].supports == (0,)


def test_words_are_lower_case_and_without_punctuation():
    assert split_words("Where will Sumit go?") == ["where", "will", "sumit", "go"]
    assert split_words("n,w") == ["n", "w"]


BAD = {
    "no number": (["Mary slept."], "line 1: expected a number, a space and a sentence"),
    "begins at 2": (["2 Mary slept."], "line 1: expected the number 1, got 2"),
    "a gap": (
        ["1 Mary slept.", "3 Mary woke."],
        "line 2: expected the number 2, or 1 for a new story, got 3",
    ),
    "no words": (["1 Mary slept.", "2 ..."], "line 2: expected words, got '...'"),
    "no supports": (
        ["1 Mary slept.", "2 Who slept?\tMary"],
        "line 2: expected question, tab, answer, tab, supporting numbers, got 2 fields",
    ),
    "no answer": (
        ["1 Mary slept.", "2 Who slept?\t \t1"],
        "line 2: expected question, tab, answer, tab, supporting numbers, got 3 fields",
    ),
    "a later support": (
        ["1 Mary slept.", "2 Who slept?\tMary\t3", "3 Mary woke."],
        "line 2: expected numbers of facts before the question, got '3'",
    ),
    "a question as support": (
        ["1 A slept.", "2 Who slept?\ta\t1", "3 Who slept?\ta\t2"],
        "line 3: expected numbers of facts before the question, got '2'",
    ),
    "a word as support": (
        ["1 Mary slept.", "2 Who slept?\tMary\tone"],
        "line 2: expected numbers of facts before the question, got 'one'",
    ),
    "a number of five thousand digits": (
        ["1" * 5000 + " Mary slept."],
        "line 1: expected a number, a space and a sentence, got '1111",
    ),
    "a support of five thousand digits": (
        ["1 Mary slept.", "2 Who slept?\tMary\t" + "1" * 5000],
        "line 2: expected numbers of facts before the question, got '1111",
    ),
    "an empty line": (
        ["1 Mary slept.", "", "2 Mary woke."],
        "line 2: expected a numbered line, got none",
    ),
    "in a later story": (
        ["1 Mary slept.", "1 Mary slept.", "2 Who?\tMary\t2"],
        "line 3: expected numbers of facts before the question, got '2'",
    ),
}


@pytest.mark.parametrize(("lines", "message"), BAD.values(), ids=BAD)
def test_malformed_lines_are_named(lines, message):
    with pytest.raises(UserError) as error:
        list(split_stories(lines, "qa1.txt"))
    assert str(error.value).startswith(f"qa1.txt, {message}")


@pytest.fixture
def raw(tmp_path) -> Path:
    """A folder like the original: each task has its own stories."""
    for folder in ("en", "en-10k"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    for task, name in enumerate(TASKS, start=1):
        for folder, split, count in (
            ("en", "train", 3), ("en", "test", 2), ("en-10k", "train", 4),
        ):  # fmt: skip
            stories = [
                f"1 Fact {split} {n} of {task}.\n2 Which?\tanswer {task}\t1\n"
                for n in range(count)
            ]
            path = tmp_path / "raw" / folder / f"qa{task}_{name}_{split}.txt.gz"
            path.write_bytes(gzip.compress("".join(stories).encode()))
    return tmp_path / "raw"


def data(raw, **settings) -> BAbI:
    return BAbI(raw_dir=raw, data_dir=raw.parent / "data", **settings)


def test_tasks_are_read_in_the_order_of_the_files(raw):
    stories = data(raw, tasks=(2, 5)).load("train")
    assert [s.task for s in stories] == [2, 2, 2, 5, 5, 5]
    assert stories[4].story.facts == ("Fact train 1 of 5.",)
    assert len(data(raw).load("test")) == 20 * 2


def test_the_tests_of_10k_are_those_of_1k(raw):
    large = data(raw, size="10k", tasks=(3,))
    assert len(large.load("train")) == 4
    assert large.load("test") == data(raw, tasks=(3,)).load("test")


BAD_DATA = {
    "no folder": (
        lambda raw: BAbI(),
        "raw_dir: expected the folder of en/ and en-10k/",
    ),
    "task 0": (
        lambda raw: data(raw, tasks=(0,)),
        "tasks: expected numbers from 1 to 20",
    ),
    "twice": (
        lambda raw: data(raw, tasks=(1, 1)),
        "tasks: expected different tasks, at least one, got (1, 1)",
    ),
    "none": (
        lambda raw: data(raw, tasks=()),
        "tasks: expected different tasks, at least",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_settings_are_named(make, message, raw):
    with pytest.raises(UserError) as error:
        make(raw).load("train")
    assert str(error.value).startswith(message)


def test_a_missing_or_malformed_file_is_named(raw):
    path = raw / "en-10k" / "qa3_three-supporting-facts_train.txt.gz"
    path.unlink()
    with pytest.raises(
        UserError, match=r"expected en-10k/qa3_three-supporting-facts_tr"
    ):
        data(raw, size="10k").load("train")
    assert data(raw, size="10k", tasks=(1, 2)).load("train")
    path.write_bytes(gzip.compress(b"1 Mary slept.\n2 Who?\tMary\n"))
    with pytest.raises(
        UserError, match=r"qa3_.*train\.txt\.gz, line 2: expected quest"
    ):
        data(raw, size="10k", tasks=(3,)).load("train")
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(
        UserError, match=r"train\.txt\.gz: expected stories, got an empty"
    ):
        data(raw, size="10k", tasks=(3,)).load("train")
    with pytest.raises(
        UserError, match=r"split: expected one of train, test, got 'val"
    ):
        data(raw, tasks=(1,)).load("validation")


def stories_of(text: str, task: int = 1) -> list[TaskStory]:
    return [
        TaskStory(task, parse_story(lines))
        for lines in split_stories(text.splitlines(), "text")
    ]


def test_questions_become_arrays_with_their_facts():
    stories = stories_of(STORY)
    words = Vocabulary.of(stories)
    arrays = encode_questions(stories, words, memory_size=50)
    assert len(arrays) == 3
    assert arrays.facts.shape == (3, 3)
    assert arrays.supports.tolist() == [[1, 0], [0, 2], [0, NO_SUPPORT]]
    assert [words.word(i) for i in arrays.answers] == [
        "hall",
        "milk,football",
        "bedroom",
    ]
    batch = arrays.batch(np.array([1, 0]))
    first = [words.word(i) for i in batch["facts"][0, 2] if i]
    assert first == ["mary", "got", "the", "football"]
    assert not batch["facts"][1, 2].any()
    assert [words.word(i) for i in batch["question"][1] if i] == ["where", "is", "mary"]


def test_too_long_a_story_keeps_its_latest_facts():
    stories = stories_of(STORY)
    words = Vocabulary.of(stories)
    arrays = encode_questions(stories, words, memory_size=2)
    assert arrays.facts.shape == (3, 2)
    whole = encode_questions(stories, words, memory_size=50)
    assert arrays.facts[1].tolist() == whole.facts[1, 1:].tolist()
    # The first fact was dropped, and the third is now the second.
    assert arrays.supports.tolist() == [[1, 0], [NO_SUPPORT, 1], [0, NO_SUPPORT]]


def test_unknown_words_are_left_out_and_an_unknown_answer_is_none():
    words = Vocabulary.of(stories_of(STORY))
    other = stories_of("1 Mary ate the milk.\n2 Who ate?\tJulius\t1\n")
    arrays = encode_questions(other, words, memory_size=5)
    assert arrays.answers.tolist() == [UNKNOWN]
    row = arrays.batch(np.array([0]))["facts"][0, 0]
    assert [words.word(i) for i in row if i] == ["mary", "the", "milk"]
    assert words.unknown("Did Julius eat the milk, Julius?") == ["did", "julius", "eat"]


def test_a_vocabulary_is_saved_and_loaded(tmp_path):
    words = Vocabulary.of(stories_of(STORY))
    words.save(tmp_path)
    assert Vocabulary.load(tmp_path).words == words.words
    assert words.id("") == 0 == words.id("absent")
    (tmp_path / "vocabulary.json").write_text("[")
    with pytest.raises(UserError, match=r"vocabulary\.json: cannot be read: .*copy it"):
        Vocabulary.load(tmp_path)
    with pytest.raises(UserError, match=r"vocabulary\.json: cannot be read: No such"):
        Vocabulary.load(tmp_path / "absent")


def test_whole_stories_are_held_out_the_last_of_each_task():
    text = "".join(f"1 Fact {n}.\n2 Which?\ta\t1\n3 What?\tb\t1\n" for n in range(10))
    stories = stories_of(text, 1) + stories_of(text, 4)
    kept, held = hold_out(stories, 0.25)
    assert [s.task for s in held] == [1, 1, 4, 4]
    assert held[1].story.facts == ("Fact 9.",)
    assert len(kept) + len(held) == 20
    assert hold_out(stories, 0.0) == (stories, [])


def test_every_epoch_has_every_row_once_in_another_order():
    batches = EpochBatches(10, rows=3, seed=1)
    assert batches.steps_per_epoch == 3
    epochs = [[batches.rows(3 * e + k).tolist() for k in range(3)] for e in range(2)]
    for epoch in epochs:
        flat = [row for batch in epoch for row in batch]
        assert len(set(flat)) == len(flat) == 9
        assert set(flat) <= set(range(10))
    assert epochs[0] != epochs[1]
    again = EpochBatches(10, rows=3, seed=1)
    assert again.rows(4).tolist() == epochs[1][1]
    assert EpochBatches(10, rows=3, seed=2).rows(4).tolist() != epochs[1][1]
    with pytest.raises(UserError, match=r"batch_size: expected at most the 2 training"):
        EpochBatches(2, rows=3)


def test_the_real_files_are_what_their_readme_says(shared, tmp_path):
    """20 x 1,000 questions, whose supports are facts; one answer that is never seen."""
    real = BAbI(raw_dir=shared / "data" / "babi", data_dir=tmp_path)
    train, test = real.load("train"), real.load("test")
    for stories in (train, test):
        counts = dict.fromkeys(range(1, 21), 0)
        for task, story in stories:
            counts[task] += len(story.questions)
            for question in story.questions:
                assert question.supports
                assert all(0 <= i < question.num_facts for i in question.supports)
        assert set(counts.values()) == {1_000}
    words = Vocabulary.of(train)
    arrays = encode_questions(test, words, memory_size=50)
    assert arrays.facts.shape == (20_000, 50)
    (unseen,) = np.flatnonzero(arrays.answers == UNKNOWN)
    assert arrays.tasks[unseen] == 8
    answers = {words.word(i) for i in arrays.answers[arrays.tasks == 19]}
    assert {"n,w", "s,e"} <= answers
    longest = max(len(s.story.facts) for s in train if s.task == 3)
    assert longest > 200
    assert max(len(split_words(f)) for s in train for f in s.story.facts) <= 11
