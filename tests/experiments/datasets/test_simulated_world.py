"""The simulated world: a replay of each story gives its answer and its supports."""

import re

import pytest

from experiments.datasets.simulated_world import world
from experiments.datasets.simulated_world.simulated_world_builder import SimulatedWorld
from experiments.datasets.simulated_world.world import make_story
from experiments.datasets.stories.format import parse_story
from experiments.errors import UserError

WORLD = {"difficulty": 5, "questions": "actor-object", "statements": 15}
ACTS = {verb: act for act, verbs in world.VERBS.items() for verb in verbs}
FACT = re.compile(rf"(\w+) ({'|'.join(ACTS)}) the (\w+)\.")


def replay(facts):
    """The history of each actor's rooms, and of each thing: (index, room) lists."""
    rooms, things, holder = {}, {}, {}
    for i, fact in enumerate(facts):
        actor, verb, what = FACT.fullmatch(fact).groups()
        act = ACTS[verb]
        if act == "go":
            assert not rooms.get(actor) or rooms[actor][-1][1] != what
            rooms.setdefault(actor, []).append((i, what))
        elif act == "get":
            assert what not in holder
            assert rooms[actor]
            holder[what] = actor
            things[what] = (i, "held", actor)
        else:
            assert holder.pop(what) == actor
            things[what] = (i, "lies", rooms[actor][-1])
    return rooms, things


def answer(facts, question):
    """The answer and its supports, found by replaying the story."""
    rooms, things = replay(facts)
    words = question.rstrip("?").split()
    if words[-2] == "the" and words[1] == "is":
        at, how, where = things[words[-1]]
        i, room = rooms[where][-1] if how == "held" else where
        return room, (at, i)
    if words[1] == "was":
        (last, room), (before, previous) = rooms[words[2]][-1], rooms[words[2]][-2]
        assert room == words[-1]
        return previous, (last, before)
    i, room = rooms[words[-1]][-1]
    return room, (i,)


@pytest.mark.parametrize("questions", ["actor-without-before", "actor", "actor-object"])
def test_answers_and_supports_are_those_of_a_replay(questions):
    kinds = set()
    for index in range(300):
        lines = make_story(0, "train", index, **WORLD | {"questions": questions})
        story = parse_story(lines)
        (question,) = story.questions
        kinds.add(
            " ".join(question.text.split()[:2]) + " the" * (" the " in question.text)
        )
        room, supports = answer(story.facts, question.text)
        assert (question.answer, question.supports) == (room, supports)
        assert 5 <= len(story.facts) <= 15
    assert (
        kinds
        == {
            "actor-without-before": {"Where is"},
            "actor": {"Where is", "Where was the"},
            "actor-object": {"Where is", "Where was the", "Where is the"},
        }[questions]
    )


@pytest.mark.parametrize("difficulty", [1, 3, 5])
def test_the_entity_was_mentioned_so_many_statements_ago(difficulty):
    ages = set()
    for index in range(300):
        lines = make_story(0, "train", index, **WORLD | {"difficulty": difficulty})
        story = parse_story(lines)
        words = story.questions[0].text.rstrip("?").split()
        entity = words[2] if words[1] == "was" else words[-1]
        last = max(i for i, fact in enumerate(story.facts) if entity in fact)
        ages.add(len(story.facts) - last)
    assert max(ages) <= difficulty
    assert len(ages) == difficulty


def test_a_story_is_a_function_of_seed_split_and_index():
    one = make_story(3, "train", 7, **WORLD)
    assert make_story(3, "train", 7, **WORLD) == one
    others = [(4, "train", 7), (3, "test", 7), (3, "train", 8)]
    assert all(make_story(*other, **WORLD) != one for other in others)


def test_a_story_never_changes():
    """Data of earlier runs stay reproducible: the draws are guaranteed by Python."""
    got = make_story(0, "train", 1, **WORLD)
    assert got[0] == "1 Fred journeyed to the kitchen."
    assert got[-1] == "9 Where was Joe before the office?\tgarden\t7 2"


def test_a_world_is_a_data_set(tmp_path):
    data = SimulatedWorld(train=5, test=3, data_dir=tmp_path)
    train, test = data.load("train"), data.load("test")
    assert (len(train), len(test)) == (5, 3)
    assert train[1].story == parse_story(make_story(0, "train", 1, **WORLD))
    assert not {s.story.facts for s in train} & {s.story.facts for s in test}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": 0}, "train: expected at least 1, got 0"),
        ({"statements": 4}, "statements: expected at least 5, got 4"),
        ({"difficulty": 0}, "difficulty: expected at least 1, got 0"),
        (
            {"difficulty": 6},
            "difficulty: expected at most 5 (the shortest story), got 6",
        ),
    ],
)
def test_bad_settings_are_named(settings, message, tmp_path):
    with pytest.raises(UserError) as error:
        SimulatedWorld(data_dir=tmp_path, **settings).load("train")
    assert str(error.value) == message
