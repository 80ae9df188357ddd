"""The settings of a language-model run: its text, its tokeniser, its model."""

import dataclasses

import tyro

from attnjax.models.gpt import GPTConfig
from attnjax.models.memn2n_lm import MemN2NLMConfig
from experiments.datasets.text.datasets import (
    PennTreebank,
    SourceCode,
    TextFiles,
    TinyShakespeare,
    WikiText2,
)
from experiments.datasets.tokenizers.text import TextTokenizerConfig
from experiments.training.config import TrainingConfig

DataConfig = TextFiles | TinyShakespeare | PennTreebank | WikiText2 | SourceCode
ModelConfig = GPTConfig | MemN2NLMConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """All settings of a language-model run."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Text to train and evaluate on."""
    tokenizer: TextTokenizerConfig = dataclasses.field(
        default_factory=TextTokenizerConfig
    )
    """Tokeniser, trained on the training text and saved in the run."""
    model: tyro.conf.AvoidSubcommands[ModelConfig] = dataclasses.field(
        default_factory=GPTConfig
    )
    """Model; its vocabulary size is that of the tokeniser."""
    batch_size: int = 12
    """Number of token windows per batch, each of model.max_length tokens."""
    context_tokens: int = 0
    """Number of tokens at the start of every window that are not predicted, so that
    every token that is has at least as many before it; a text's first window predicts
    all of its tokens."""
