"""The simulation: one story with one question is a pure function of (seed, index).

Weston, Chopra & Bordes 2014 (arXiv:1410.3916), section 5.2: four actors, three objects,
five rooms. An actor goes to a room, gets an object that is there, or drops one. The
question is about an entity that one of the last few statements mentions.
"""

import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

ACTORS = ("Bill", "Dan", "Fred", "Joe")
OBJECTS = ("apple", "football", "milk")
ROOMS = ("bathroom", "garden", "kitchen", "livingroom", "office")
VERBS = {
    "go": ("went to", "travelled to", "moved to", "journeyed to"),
    "get": ("picked up", "got", "took", "grabbed"),
    "drop": ("dropped", "left", "put down", "discarded"),
}
FEWEST = 5  # statements of a story

Questions = Literal["actor-without-before", "actor", "actor-object"]


class Statement(NamedTuple):
    """What happened: an actor goes to a room, gets an object or drops it."""

    actor: str
    act: Literal["go", "get", "drop"]
    what: str  # room or object
    verb: str

    @property
    def text(self) -> str:
        """The statement in words."""
        return f"{self.actor} {self.verb} the {self.what}."


class Asked(NamedTuple):
    """A question, its answer, and the statements that decide it, in order."""

    text: str
    answer: str
    supports: tuple[int, ...]


class Draws:
    """Random choices that never change: of `random`, only `random()` is guaranteed."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random("/".join(map(str, seed))).random

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        return int(self._random() * n)

    def one_of(self, options: Sequence[str]) -> str:
        """One of several strings."""
        return options[self.below(len(options))]


def make_story(
    seed: int,
    split: str,
    index: int,
    *,
    difficulty: int,
    questions: Questions,
    statements: int,
) -> list[str]:
    """Simulates a story and asks about it.

    Args:
      seed: of the data set.
      split: name of the split; another one has other stories.
      index: number of the story in its split.
      difficulty: how many statements back, at most, the question's entity is mentioned.
      questions: "actor-without-before": where an actor is; "actor": or was before;
        "actor-object": or where an object is. Without objects, actors only move.
      statements: largest number of statements, at least `FEWEST`.

    Returns:
      Lines in the format of bAbI; the last one is the question.

    Example:
      >>> sizes = {"difficulty": 1, "questions": "actor", "statements": 5}
      >>> len(make_story(0, "train", 0, **sizes))
      6
    """
    for attempt in range(1_000):
        draws = Draws(seed, split, index, attempt)
        length = FEWEST + draws.below(statements - FEWEST + 1)
        story = _simulate(draws, length, with_objects=questions == "actor-object")
        about = story[length - 1 - draws.below(difficulty)]
        asked = _ask(draws, story, about, before=questions != "actor-without-before")
        if asked is not None:
            break
    else:
        raise RuntimeError(f"story {index}: expected a question, found none to ask")
    lines = [f"{n} {said.text}" for n, said in enumerate(story, start=1)]
    numbers = " ".join(str(i + 1) for i in asked.supports)
    return [*lines, f"{length + 1} {asked.text}\t{asked.answer}\t{numbers}"]


def _simulate(draws: Draws, length: int, *, with_objects: bool) -> list[Statement]:
    """Lets actors act one after another; where they start is never said."""
    place: dict[str, str] = {}  # of actors that have moved
    lies = {thing: draws.one_of(ROOMS) for thing in OBJECTS}  # of objects nobody holds
    holds: dict[str, str] = {}  # object -> actor
    story: list[Statement] = []
    while len(story) < length:
        actor = draws.one_of(ACTORS)
        held = [thing for thing in OBJECTS if holds.get(thing) == actor]
        near = [t for t in OBJECTS if actor in place and lies.get(t) == place[actor]]
        acts = [("get", thing) for thing in near] + [("drop", thing) for thing in held]
        if with_objects and acts and draws.below(2):
            act, what = acts[draws.below(len(acts))]
        else:
            act = "go"
            what = draws.one_of([r for r in ROOMS if r != place.get(actor)])
        if act == "go":
            place[actor] = what
        elif act == "get":
            holds[what] = actor
            del lies[what]
        else:
            lies[what] = place[actor]
            del holds[what]
        verb = draws.one_of(VERBS[act])
        story.append(Statement(actor, act, what, verb))  # type: ignore[arg-type]
    return story


def _ask(
    draws: Draws, story: list[Statement], about: Statement, *, before: bool
) -> Asked | None:
    """Asks about the object, or else the actor, of a statement; None if it cannot."""
    if about.act != "go":
        return _ask_object(story, about.what)
    moves = _moves(story, about.actor, len(story))
    if not (before and draws.below(2)):
        place = story[moves[-1]].what
        return Asked(f"Where is {about.actor}?", place, (moves[-1],))
    if len(moves) < 2:
        return None
    last, previous = story[moves[-1]].what, story[moves[-2]].what
    text = f"Where was {about.actor} before the {last}?"
    return Asked(text, previous, (moves[-1], moves[-2]))


def _ask_object(story: list[Statement], thing: str) -> Asked:
    """Asks where an object is: with its holder, or where it was dropped."""
    handled = max(i for i, said in enumerate(story) if said.what == thing)
    end = len(story) if story[handled].act == "get" else handled
    move = _moves(story, story[handled].actor, end)[-1]
    return Asked(f"Where is the {thing}?", story[move].what, (handled, move))


def _moves(story: list[Statement], actor: str, end: int) -> list[int]:
    """Where an actor's moves are, of the statements before `end`."""
    return [
        i
        for i, said in enumerate(story[:end])
        if said.actor == actor and said.act == "go"
    ]
