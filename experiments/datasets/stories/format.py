"""The format of bAbI: numbered lines, facts and questions; a story begins at 1.

A fact is `NUMBER text`; a question is `NUMBER text<TAB>answer<TAB>supporting numbers`.
Questions share the numbers of facts, so supports are renumbered: here, they are indices
of facts alone, from 0.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from experiments.errors import UserError

# Python converts no more than 4,300 digits; no story has so many lines.
_NUMBER = re.compile(r"\d{1,9}")
_NUMBERED = re.compile(rf"({_NUMBER.pattern}) (.*)")
_WORD = re.compile(r"\w+")


class Question(NamedTuple):
    """A question about the facts before it.

    Attributes:
      text: the question.
      answer: a word, or several joined by commas, which are one answer.
      supports: indices of the facts that decide the answer; () if none are named.
      num_facts: how many facts of the story come before it.
    """

    text: str
    answer: str
    supports: tuple[int, ...]
    num_facts: int


class Story(NamedTuple):
    """Facts in their order, and the questions between and after them."""

    facts: tuple[str, ...]
    questions: tuple[Question, ...]


def split_words(text: str) -> list[str]:
    """Splits a sentence into words, in lower case and without punctuation.

    Example:
      >>> split_words("Where is Mary?")
      ['where', 'is', 'mary']
    """
    return _WORD.findall(text.lower())


def split_stories(lines: Iterable[str], name: str) -> Iterator[list[str]]:
    """Splits the lines of a file into stories, each checked.

    Args:
      lines: without newlines; empty ones at the end are dropped.
      name: of the file, in errors.

    Yields:
      The lines of each story.

    Raises:
      UserError: naming the file and the line, if one is malformed.
    """
    story: list[str] = []
    start = blank = 0
    for at, line in enumerate(lines, start=1):
        if not line.strip():
            blank = blank or at
            continue
        if blank:
            raise UserError(f"{name}, line {blank}: expected a numbered line, got none")
        numbered = _NUMBERED.match(line)
        if numbered is None:
            raise UserError(
                f"{name}, line {at}: expected a number, a space and a sentence, got "
                f"{line[:40]!r}"
            )
        number = int(numbered[1])
        if number == 1 and story:
            parse_story(story, name, start)
            yield story
            story = []
        if number != len(story) + 1:
            expected = "1" if not story else f"{len(story) + 1}, or 1 for a new story"
            raise UserError(
                f"{name}, line {at}: expected the number {expected}, got {number}"
            )
        start = start if story else at
        story.append(line)
    if story:
        parse_story(story, name, start)
        yield story


def parse_story(lines: Iterable[str], name: str = "story", start: int = 1) -> Story:
    """Parses the lines of one story.

    Args:
      lines: numbered from 1.
      name: of the file, in errors.
      start: number of the first line in the file, in errors.

    Raises:
      UserError: naming the file and the line, if one is malformed.

    Example:
      >>> story = parse_story(["1 Mary slept.", "2 Who slept? \\tMary\\t1"])
      >>> story.facts, story.questions[0].answer, story.questions[0].supports
      (('Mary slept.',), 'mary', (0,))
    """
    facts: list[str] = []
    questions: list[Question] = []
    index: dict[int, int] = {}  # number of a line -> index of its fact
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {start + number - 1}"
        text, *rest = line.partition(" ")[2].split("\t")
        if not split_words(text):
            raise UserError(f"{where}: expected words, got {text!r}")
        if not rest:
            index[number] = len(facts)
            facts.append(text.strip())
            continue
        if len(rest) != 2 or not rest[0].strip():
            raise UserError(
                f"{where}: expected question, tab, answer, tab, supporting numbers, "
                f"got {len(rest) + 1} fields: {line[:60]!r}"
            )
        supports = _supports(rest[1], index, where)
        answer = rest[0].strip().lower()
        questions.append(Question(text.strip(), answer, supports, len(facts)))
    return Story(tuple(facts), tuple(questions))


def _supports(field: str, index: dict[int, int], where: str) -> tuple[int, ...]:
    """The indices of facts that the numbers of a field name."""
    found = []
    for word in field.split():
        if not _NUMBER.fullmatch(word) or int(word) not in index:
            raise UserError(
                f"{where}: expected numbers of facts before the question, got "
                f"{word[:40]!r}"
            )
        found.append(index[int(word)])
    return tuple(found)
