"""A text to evaluate on, and a model's loss on it in the units that papers use."""

import math
from typing import NamedTuple

import numpy as np

from experiments.datasets.tokenizers.text import TextTokenizer
from experiments.training.metrics import perplexity


class EvaluationText:
    """A tokenised text, with the number of characters and bytes that it encodes."""

    def __init__(self, tokenizer: TextTokenizer, tokens: np.ndarray) -> None:
        """Counts on the detokenised text, so blanks lost in tokenisation do not count.

        Args:
          tokenizer: the one that produced the ids.
          tokens: ids, shape [N].
        """
        text = tokenizer.detokenize(tokens.tolist())
        self.tokens, self.first = tokens, tokenizer.newline
        self.characters, self.bytes = len(text), len(text.encode())
        has_no_unk = tokenizer.unknown is None
        self.unknown = 0 if has_no_unk else int((tokens == tokenizer.unknown).sum())
        self.words = max(1, len(text.split()) + text.count("\n"))

    def metrics(self, loss: float) -> "TextMetrics":
        """The loss in nats per token, with what the text counts."""
        return TextMetrics(
            tokens=len(self.tokens),
            unknown=self.unknown,
            characters=self.characters,
            bytes=self.bytes,
            words=self.words,
            loss=loss,
        )


class TextMetrics(NamedTuple):
    """A model's loss on a text."""

    tokens: int
    unknown: int  # tokens that are UNK
    characters: int
    bytes: int
    words: int  # and ends of lines, each of which is a word
    loss: float  # nats per token

    @property
    def metrics(self) -> dict[str, float]:
        """The loss in nats per token, and in the other units that papers use.

        Bits per character and per byte are left out if there are UNK tokens, whose
        characters the model does not predict.
        """
        metrics = {"loss": self.loss, "perplexity": perplexity(self.loss)}
        if self.unknown:
            return metrics
        nats = self.loss * self.tokens
        return metrics | {
            "bits_per_character": nats / math.log(2) / self.characters,
            "bits_per_byte": nats / math.log(2) / self.bytes,
            "perplexity_per_word": perplexity(nats / self.words),
        }
