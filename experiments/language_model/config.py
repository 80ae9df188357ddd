"""The settings of a language-model run: its text, its tokeniser, its model."""

import dataclasses

import tyro

from attnjax.models.gpt import GPTConfig
from attnjax.models.lstm_lm import LSTMLMConfig
from attnjax.models.memn2n_lm import MemN2NLMConfig
from experiments.datasets.text.datasets import (
    PennTreebank,
    SourceCode,
    TextFiles,
    TinyShakespeare,
    WikiText2,
)
from experiments.datasets.text.enwik8 import Enwik8
from experiments.datasets.tokenizers.text import TextTokenizerConfig
from experiments.training.config import TrainingConfig
from experiments.training.weight_noise import WeightNoiseConfig

DataConfig = (
    TextFiles | TinyShakespeare | PennTreebank | WikiText2 | Enwik8 | SourceCode
)
ModelConfig = GPTConfig | MemN2NLMConfig | LSTMLMConfig


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
    """Number of token windows per batch, each of model.max_length tokens; for a model
    that carries a state, the number of columns that the text is cut into."""
    weight_noise: WeightNoiseConfig = dataclasses.field(
        default_factory=WeightNoiseConfig
    )
    """Noise on the weights as a regulariser."""
    reset_every: int | None = None
    """Number of segments after which a model that carries a state (LSTM) begins anew;
    None: only where the text begins."""
    unigram_bias: bool = False
    """Whether the output bias of a model that carries a state starts at the logarithms
    of how frequent the tokens of the training text are. From 0, Adam needs hundreds of
    steps for the rare ones of a large vocabulary, and saturates the cells meanwhile."""
    context_tokens: int = 0
    """Number of tokens at the start of every window that are not predicted, so that
    every token that is has at least as many before it; a text's first window predicts
    all of its tokens."""
