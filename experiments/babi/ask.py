"""Asks a run about a story: `python -m experiments.babi ask`.

Each hop is shown as bars, one for each fact: how much of its weight the fact has.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

import jax
import numpy as np
from rich.cells import cell_len

from experiments.babi.loading import LoadedRun
from experiments.babi.model import QuestionAnswerer
from experiments.datasets.stories.arrays import padded
from experiments.datasets.stories.format import split_words
from experiments.datasets.stories.vocabulary import NULL
from experiments.errors import UserError

BAR, ASCII_BAR = "█", "#"
_LONGEST = 10  # cells of a bar, for a weight of 1


class Asked(NamedTuple):
    """A question with its answer, and what each hop attended to."""

    question: str
    answer: str
    facts: tuple[str, ...]  # those that were kept
    weights: np.ndarray  # [K, S]


class Asker:
    """Answers questions about one story after another."""

    def __init__(self, loaded: LoadedRun) -> None:
        """Jits the answer."""
        self._model: QuestionAnswerer = loaded.model
        self._params = loaded.params
        self._answer = jax.jit(loaded.model.answer)
        self.memory_size = loaded.config.model.memory_size

    def check_sentence(self, name: str, sentence: str) -> None:
        """Checks that the training stories have all words of a sentence.

        Raises:
          UserError: naming the words that they lack, or if there is no word.
        """
        if not split_words(sentence):
            raise UserError(f"{name}: expected words, got {sentence!r}")
        unknown = self._model.vocabulary.unknown(sentence)
        if unknown:
            raise UserError(
                f"{name}: expected words of the training stories, got "
                f"{', '.join(map(repr, unknown))} (use other words)"
            )

    def __call__(self, facts: Sequence[str], question: str) -> Asked:
        """Answers a question about facts, the oldest first.

        Only the most recent ones are kept, as many as the model's memory holds.

        Raises:
          UserError: if there is no fact, or a word is unknown.
        """
        if not facts:
            raise UserError("story: expected at least one fact, got none")
        for number, fact in enumerate(facts, start=1):
            self.check_sentence(f"story, fact {number}", fact)
        self.check_sentence("question", question)
        kept = tuple(facts[-self.memory_size :])
        vocabulary = self._model.vocabulary
        batch = {
            "facts": padded([vocabulary.encode(f) for f in kept], NULL)[None],
            "question": padded([vocabulary.encode(question)], NULL),
        }  # [S, T] -> [1, S, T]
        answers, weights = self._answer(self._params, batch)
        word = vocabulary.word(int(answers[0]))
        return Asked(question, word, kept, np.asarray(weights[0]))


def read_stories(lines: Iterable[str]) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """Reads facts and questions as they are typed.

    A line that ends with a question mark is a question about the facts before it; an
    empty line begins another story, and so does the number 1 at the beginning of a
    line, so that bAbI's files can be read. Other numbers there are ignored, and so is
    what follows a tab.

    Args:
      lines: with or without newlines.

    Yields:
      The facts so far with a question; at the end, the facts and None if there was no
      question about them.
    """
    facts: list[str] = []
    asked = True
    for line in lines:
        text = line.partition("\t")[0].strip()
        number, _, rest = text.partition(" ")
        text = rest.strip() if number.isdecimal() else text
        if not text or number == "1":
            if facts and not asked:
                yield tuple(facts), None
            facts, asked = [], True
        if not text:
            continue
        if text.endswith("?"):
            asked = True
            yield tuple(facts), text
        else:
            facts.append(text)
            asked = False
    if facts and not asked:
        yield tuple(facts), None


def draw_hops(asked: Asked, bar: str = BAR) -> str:
    """Draws what each hop attended to, one line a fact and one column a hop.

    Args:
      asked: an answered question.
      bar: the character that bars are made of.

    Example:
      >>> weights = np.array([[0.25, 0.75]])
      >>> facts = ("Mary slept.", "Mary woke.")
      >>> print(draw_hops(Asked("Who woke?", "mary", facts, weights), "#"))
                   hop 1
      Mary slept.  ##         0.25
      Mary woke.   ########   0.75
      Who woke? mary
    """
    width = max(map(cell_len, asked.facts))
    hops = range(1, len(asked.weights) + 1)
    head = "  ".join(f"{f'hop {k}':<{_LONGEST + 5}}" for k in hops)
    lines = [f"{' ' * width}  {head}"]
    for fact, row in zip(asked.facts, asked.weights.T, strict=True):
        bars = (bar * round(float(w) * _LONGEST) for w in row)
        cells = (f"{b:<{_LONGEST}} {w:.2f}" for b, w in zip(bars, row, strict=True))
        lines.append(f"{fact}{' ' * (width - cell_len(fact))}  {'  '.join(cells)}")
    lines.append(f"{asked.question} {asked.answer}")
    return "\n".join(line.rstrip() for line in lines)


def answer_lines(
    asker: Asker,
    lines: Iterable[str],
    *,
    say: Callable[[str], None] = lambda text: None,
    file: TextIO | None = None,
) -> None:
    """Answers every question in lines, and prints what each hop attended to.

    Args:
      asker: the model.
      lines: facts and questions, see `read_stories`.
      say: is told which facts were dropped.
      file: where to print; stdout if None.

    Raises:
      UserError: if there is no question, a story has no fact, or a word is unknown.
    """
    file = sys.stdout if file is None else file
    encoding = getattr(file, "encoding", None) or "utf-8"
    bar = BAR if encoding.lower().startswith("utf") else ASCII_BAR
    count = 0
    for facts, question in read_stories(lines):
        if question is None:
            raise UserError(
                f"story: expected a question, a line that ends with ?, got none after "
                f"{facts[-1]!r}"
            )
        if not facts:
            raise UserError(f"story: expected facts before {question!r}, got none")
        asked = asker(facts, question)
        if len(asked.facts) < len(facts):
            say(
                f"story: {len(facts)} facts, of which the most recent "
                f"{len(asked.facts)} are kept (memory_size)"
            )
        if count:
            print(file=file)
        print(draw_hops(asked, bar), file=file, flush=True)
        count += 1
    if count == 0:
        raise UserError("story: expected facts and a question, got no lines")
