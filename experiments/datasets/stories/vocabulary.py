"""Words and whole answers as ids; id 0 is the null word, which pads."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.datasets.stories.datasets import TaskStory
from experiments.datasets.stories.format import split_words
from experiments.files import write_atomic
from experiments.runs.json_file import read_saved

NAME = "vocabulary.json"
NULL = 0


class Vocabulary:
    """Maps words and answers to ids from 1 on.

    An answer of several words, such as "n,w", is one entry. An answer that is a word of
    the stories has that word's id.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Numbers the words, which must differ, in the order given."""
        self.words = tuple(words)
        self._ids = {word: i for i, word in enumerate(self.words, start=1)}

    @classmethod
    def of(cls, stories: Iterable[TaskStory]) -> "Vocabulary":
        """Collects the words and answers of stories, sorted."""
        found: set[str] = set()
        for _, story in stories:
            for fact in story.facts:
                found.update(split_words(fact))
            for question in story.questions:
                found.update(split_words(question.text))
                found.add(question.answer)
        return cls(sorted(found))

    def __len__(self) -> int:
        """Number of ids, the null word included."""
        return len(self.words) + 1

    def id(self, word: str) -> int:
        """The id of a word or an answer; that of the null word if it is unknown."""
        return self._ids.get(word, NULL)

    def word(self, index: int) -> str:
        """The word or answer of an id; "" for the null word."""
        return self.words[index - 1] if index else ""

    def encode(self, sentence: str) -> list[int]:
        """The ids of a sentence's words; unknown ones are left out."""
        return [i for i in map(self.id, split_words(sentence)) if i != NULL]

    def unknown(self, sentence: str) -> list[str]:
        """The words of a sentence that have no id, each once."""
        words = split_words(sentence)
        return list(dict.fromkeys(w for w in words if self.id(w) == NULL))

    def save(self, folder: Path) -> None:
        """Writes the words into a folder, atomically."""
        write_atomic(folder / NAME, json.dumps(self.words, indent=0) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary":
        """Reads what `save` wrote.

        Raises:
          UserError: if there is no such file, or it is damaged.
        """
        return read_saved(folder / NAME, list[str], cls)
