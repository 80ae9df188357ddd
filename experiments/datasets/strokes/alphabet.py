"""The characters that a synthesis network knows, numbered."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.runs.json_file import read_saved

ALPHABET = "alphabet.json"


class Alphabet(NamedTuple):
    """Characters; the number of each is its place."""

    characters: str

    def encode(self, text: str, name: str = "text") -> np.ndarray:
        """Numbers the characters of a text: int32 [U].

        Args:
          text: one character or more.
          name: what it is, for errors.

        Raises:
          UserError: if the text is empty or blank, or has a character that is unknown.
        """
        if not text.strip():
            raise UserError(f"{name}: expected characters to write, got {text!r}")
        unknown = sorted(set(text) - set(self.characters))
        if unknown:
            raise UserError(
                f"{name}: expected characters of the training data "
                f"({self.characters.strip()}), got {''.join(unknown)!r}"
            )
        return np.array([self.characters.index(c) for c in text], np.int32)

    def save(self, folder: Path) -> None:
        """Writes the characters into the folder of a run."""
        content = json.dumps(self.characters, ensure_ascii=False)
        write_atomic(folder / ALPHABET, content + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Alphabet":
        """Reads what `save` wrote.

        Raises:
          UserError: if the file is missing or damaged.
        """
        return read_saved(folder / ALPHABET, str, cls)
