"""The settings of a language-model run: its text, its tokeniser, its model."""

import dataclasses

import tyro

from attnjax.models.gpt import GPTConfig
from experiments.datasets.text.datasets import (
    SourceCode,
    TextFiles,
    TinyShakespeare,
    WikiText2,
)
from experiments.datasets.tokenizers.text import TextTokenizerConfig
from experiments.training.config import TrainingConfig

DataConfig = TextFiles | TinyShakespeare | WikiText2 | SourceCode


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """All settings of a language-model run."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Text to train and evaluate on."""
    tokenizer: TextTokenizerConfig = dataclasses.field(
        default_factory=TextTokenizerConfig
    )
    """Tokeniser, trained on the training text and saved in the run."""
    model: GPTConfig = dataclasses.field(default_factory=GPTConfig)
    """Model; its vocabulary size is that of the tokeniser."""
    batch_size: int = 12
    """Number of token windows per batch, each of model.max_length tokens."""
