"""The tokenisers of a source and a target, and their files in a run's folder."""

from pathlib import Path
from typing import NamedTuple, Self

from experiments.datasets.tokenizers.sentences import Tokenizer, load_tokenizer


class Tokenizers(NamedTuple):
    """The tokenisers of both sides."""

    source: Tokenizer
    target: Tokenizer

    def save(self, folder: Path) -> None:
        """Writes both into the folder of a run."""
        self.source.save(folder, "source")
        self.target.save(folder, "target")

    @classmethod
    def saved(cls, folder: Path) -> Self | None:
        """Reads both from the folder of a run; None if they were never saved."""
        if not any(folder.glob("target.*")):
            return None
        return cls(load_tokenizer(folder, "source"), load_tokenizer(folder, "target"))
