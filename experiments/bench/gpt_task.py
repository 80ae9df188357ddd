"""The language-modelling task: a tokenised text, and what a trainer must offer."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from experiments.datasets.text.datasets import TextFiles
from experiments.datasets.text.windows import TokenWindows, consecutive_windows
from experiments.datasets.tokenizers.text import CharacterTokenizer
from experiments.language_model.config import Config


class Trainer(Protocol):
    """A language model and its optimiser, in any library.

    It is fed windows of token ids, [B, T + 1]: T inputs and, shifted by one, T targets.
    """

    def step(self, windows: np.ndarray) -> None:
        """Takes an optimisation step; it may return before the device has finished."""

    def wait(self) -> None:
        """Waits until the device has finished all steps."""

    def loss(self, windows: np.ndarray) -> tuple[float, int]:
        """The summed cross-entropy of the targets, in nats, and their number."""


class TokenizedText(NamedTuple):
    """A text file, split and tokenised as a config says."""

    tokenizer: CharacterTokenizer
    train: TokenWindows  # random windows of the training split
    validation: np.ndarray  # ids of the last tenth of the file

    @classmethod
    def from_file(cls, path: Path, config: Config) -> "TokenizedText":
        """Splits and tokenises a file.

        Raises:
          UserError: if the file is missing, or shorter than a window.
        """
        splits = TextFiles(text=(path,)).splits()
        train, validation = ("".join(splits[n]) for n in ("train", "validation"))
        tokenizer = CharacterTokenizer(train + validation)
        windows = TokenWindows(
            np.array(tokenizer.tokenize(train), np.int32),
            rows=config.batch_size,
            length=config.model.max_length,
            seed=config.seed,
        )
        return cls(
            tokenizer, windows, np.array(tokenizer.tokenize(validation), np.int32)
        )

    def validation_windows(self) -> Iterator[np.ndarray]:
        """Batches of windows in which every validation token is a target once."""
        batches = consecutive_windows(
            self.validation,
            first=self.tokenizer.newline,
            rows=self.train.rows,
            length=self.train.length,
        )
        return (batch.ids for batch in batches)
