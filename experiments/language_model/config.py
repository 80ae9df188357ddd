"""What a language-model run is made of: its text, its ids, its model."""

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
    """A whole language-model run."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Text."""
    tokenizer: TextTokenizerConfig = dataclasses.field(
        default_factory=TextTokenizerConfig
    )
    """How text becomes ids; made from the text, kept in the run."""
    model: GPTConfig = dataclasses.field(default_factory=GPTConfig)
    """The model; its vocabulary is set to the tokeniser's."""
    batch_rows: int = 12
    """Crops in a batch, each of model.max_length tokens."""
