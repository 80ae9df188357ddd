"""What a translation run is made of: its data, its model, its search."""

import dataclasses

import tyro

from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transformer import TransformerConfig
from experiments.cli.checks import check_numbers
from experiments.datasets.cldr.cldr_builder import Cldr
from experiments.datasets.multi30k.multi30k_builder import Multi30k
from experiments.datasets.pairs.tokenized import TokenizerConfig
from experiments.datasets.parallel_text.parallel_text_builder import ParallelText
from experiments.errors import UserError
from experiments.training.config import TrainingConfig

DataConfig = Multi30k | Cldr | ParallelText
ModelConfig = RNNSearchConfig | RNNEncoderDecoderConfig | TransformerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How hypotheses are found."""

    beam_size: int = 5
    """Hypotheses followed at a time; 1 is greedy."""
    length_penalty: float = 1.0
    """GNMT's alpha: 0 favours short hypotheses."""
    coverage_penalty: float = 0.0
    """GNMT's beta: above 0 favours hypotheses that read all of the source."""
    no_repeat_ngram_size: int = 0
    """Never write so many tokens again in the same order; 0: allow it."""
    max_ratio: float = 2.0
    """Longest hypothesis in tokens, as a multiple of the source's, and 10 more."""
    forbid_unk: bool = False
    """Never write UNK (the paper's "No UNK" column)."""
    replace_unk: bool = False
    """Write for UNK the source word that it reads most."""

    def check(self, vocab_size: int) -> None:
        """Checks the settings against the number of target ids.

        Raises:
          UserError: naming the first that makes no sense.
        """
        check_numbers(self)
        if self.beam_size > vocab_size:
            raise UserError(
                f"beam_size: expected at most {vocab_size} (the target vocabulary), "
                f"got {self.beam_size}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """A whole translation run."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Sentence pairs."""
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    """How text becomes ids; made from the training side, kept in the run."""
    model: tyro.conf.AvoidSubcommands[ModelConfig] = dataclasses.field(
        default_factory=RNNSearchConfig
    )
    """The model; its vocabulary sizes are set to the tokenisers'."""
    search: SearchConfig = SearchConfig()
    """How hypotheses are found in `evaluate` and `decode`."""
    batch_tokens: int = 2048
    """Most positions of a batch on either side, padding included."""
    batch_sentences: int | None = None
    """Pairs in a batch, whatever their length, instead of batch_tokens."""
    row_multiple: int = 8
    """Divides the pairs of every batch: 1, 2, 4 and 8 devices see the same batches."""
    buckets: int = 8
    """Number of batch shapes; each is compiled once."""
    max_length: int = 60
    """Longest side of a training pair in ids; longer pairs are left out."""
    source_limit: int = 400
    """Longest source that `evaluate` and `decode` take, in ids."""
    label_smoothing: float = 0.0
    """Share of the target spread over the whole vocabulary."""
