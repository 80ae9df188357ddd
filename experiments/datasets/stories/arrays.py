"""Questions as arrays: each sentence once, and rows that refer to it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.datasets.stories.datasets import TaskStory
from experiments.datasets.stories.vocabulary import NULL, Vocabulary

UNKNOWN = -1  # the answer that is in no vocabulary: no model can give it
NO_SUPPORT = -1


class QuestionArrays(NamedTuple):
    """N questions with the facts before them; sentences are stored once.

    Attributes:
      sentences: ids of words, int32 [F, T]; sentence 0 is empty.
      facts: sentences of each story, the oldest first, then 0; int32 [N, S].
      questions: sentences, int32 [N].
      answers: ids, int32 [N]; `UNKNOWN` if it has none.
      supports: indices into a row of facts, int32 [N, K]; `NO_SUPPORT` pads, and stands
        for a fact that was dropped.
      tasks: numbers of tasks, int32 [N].
    """

    sentences: np.ndarray
    facts: np.ndarray
    questions: np.ndarray
    answers: np.ndarray
    supports: np.ndarray
    tasks: np.ndarray

    def __len__(self) -> int:
        """Number of questions."""
        return len(self.questions)

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Looks up the words of some questions: see the fields."""
        return {
            "facts": self.sentences[self.facts[rows]],  # [B, S] -> [B, S, T]
            "question": self.sentences[self.questions[rows]],  # [B] -> [B, T]
            "answer": self.answers[rows],
            "supports": self.supports[rows],
        }


def encode_questions(
    stories: Sequence[TaskStory], vocabulary: Vocabulary, *, memory_size: int
) -> QuestionArrays:
    """Encodes every question of stories, with the most recent facts before it.

    Args:
      stories: of any number of tasks.
      vocabulary: words that it lacks are left out.
      memory_size: largest number of facts to keep, S at most.

    Returns:
      The arrays; S and T are as large as these stories need.
    """
    table = _Sentences(vocabulary)
    facts, questions, answers, supports, tasks = [], [], [], [], []
    for task, story in stories:
        every = [table.add(fact) for fact in story.facts]
        for question in story.questions:
            first = max(0, question.num_facts - memory_size)
            facts.append(every[first : question.num_facts])
            questions.append(table.add(question.text))
            answers.append(vocabulary.id(question.answer) or UNKNOWN)
            supports.append([max(NO_SUPPORT, i - first) for i in question.supports])
            tasks.append(task)
    return QuestionArrays(
        sentences=padded(table.rows, NULL),
        facts=padded(facts, 0),
        questions=np.array(questions, np.int32),
        answers=np.array(answers, np.int32),
        supports=padded(supports, NO_SUPPORT),
        tasks=np.array(tasks, np.int32),
    )


def padded(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray:
    """Makes an array of rows of unequal length: int32 [N, longest, at least 1].

    Example:
      >>> padded([[1, 2], [3]], 0).tolist()
      [[1, 2], [3, 0]]
    """
    longest = max(1, *(len(row) for row in rows)) if rows else 1
    found = np.full((len(rows), longest), fill, np.int32)
    for target, row in zip(found, rows, strict=True):
        target[: len(row)] = row
    return found


class _Sentences:
    """Numbers different sentences in the order in which they come; 0 is empty."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._numbers: dict[str, int] = {}
        self.rows: list[list[int]] = [[]]

    def add(self, sentence: str) -> int:
        """The number of a sentence."""
        if sentence not in self._numbers:
            self._numbers[sentence] = len(self.rows)
            self.rows.append(self._vocabulary.encode(sentence))
        return self._numbers[sentence]
