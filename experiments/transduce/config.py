"""The settings of a run that reads: its data, its model, its search."""

import dataclasses
from typing import Self

import tyro

from attnjax.models.ctc import CTCConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transducer import TransducerConfig
from experiments.cli.checks import check_hypotheses, check_numbers
from experiments.datasets.cmudict.cmudict_builder import CMUdict
from experiments.datasets.readings.made_up_words import MadeUpWords
from experiments.datasets.spoken_digits.spoken_digits_builder import SpokenDigits
from experiments.errors import UserError
from experiments.training.config import TrainingConfig

DataConfig = CMUdict | MadeUpWords | SpokenDigits
ModelConfig = TransducerConfig | CTCConfig | RNNSearchConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Settings of decoding."""

    beam_size: int = 5
    """Number of hypotheses that beam search keeps; 1 is greedy search, which CTC always
    has."""
    max_per_frame: int = 4
    """Most labels that greedy search of a transducer emits at one input position; beam
    search has no such limit."""
    max_length_ratio: float = 2.0
    """Longest output as a multiple of the input's length, plus 4; the end of a word is
    one more letter."""

    def fit(self, model: ModelConfig, vocab_size: int, *, n_best: int = 1) -> Self:
        """Fits the beam to a model, and to the number of outputs that are asked for.

        Args:
          model: the config of the model; CTC has a beam of 1.
          vocab_size: of the outputs; the beam of RNNSearch is at most that.
          n_best: the least that the beam may be.

        Raises:
          UserError: naming the first setting that is out of range.
        """
        beam_size = max(self.beam_size, n_best)
        if isinstance(model, CTCConfig):
            if n_best > 1:
                raise UserError(
                    f"n_best: expected 1 (CTC is decoded greedily), got {n_best}"
                )
            beam_size = 1
        made = dataclasses.replace(self, beam_size=beam_size)
        check_numbers(made)
        if isinstance(model, RNNSearchConfig):
            name = "n_best" if n_best > self.beam_size else "beam_size"
            check_hypotheses(name, beam_size, vocab_size)
        return made


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """All settings of a run that reads."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Words and their readings, or sounds and theirs, to train and evaluate on."""
    model: tyro.conf.AvoidSubcommands[ModelConfig]
    """Model; its vocabulary sizes are those of the training data."""
    search: SearchConfig = SearchConfig()
    """Decoding in `evaluate` and `decode`; during training it is greedy."""
    batch_tokens: int = 2048
    """Number of positions per batch on either side, padding included, at most."""
    num_buckets: int = 4
    """Number of batch shapes at most; each is compiled once."""
    max_length: int = 40
    """Longest side of a training example; longer ones are left out."""
    label_smoothing: float = 0.0
    """Share of the target distribution that is spread over the whole vocabulary; only
    of RNNSearch."""
