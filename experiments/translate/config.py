"""What a translation run is made of: its data, its model, its optimiser."""

import dataclasses
from typing import Literal

import optax
import tyro

from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from experiments.datasets.cldr.cldr_builder import Cldr
from experiments.datasets.pairs import Multi30k, ParallelText
from experiments.datasets.encode import TokenizerConfig

DataConfig = Multi30k | Cldr | ParallelText
ModelConfig = RNNSearchConfig | RNNEncoderDecoderConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How parameters move."""

    name: Literal["adam", "adadelta"] = "adam"
    """Adam, or Adadelta as in the RNNSearch paper (rho 0.95, epsilon 1e-6)."""
    learning_rate: float = 1e-3
    """The highest learning rate."""
    warmup: int = 0
    """Steps in which the learning rate rises to its highest."""
    decay: Literal["none", "cosine", "linear"] = "none"
    """How the learning rate falls to `final` of its highest, from the warm-up on."""
    final: float = 0.01
    """Share of the highest learning rate that is left at the last step."""
    beta2: float = 0.98
    """Adam's second decay rate."""
    clip_norm: float = 1.0
    """Largest norm of a gradient; longer ones are shortened to it."""

    def build(self, steps: int) -> optax.GradientTransformation:
        """Makes the transformation for a run of so many steps."""
        clip = optax.clip_by_global_norm(self.clip_norm)
        rate = self._schedule(steps)
        if self.name == "adadelta":
            return optax.chain(clip, optax.adadelta(rate, rho=0.95, eps=1e-6))
        return optax.chain(clip, optax.adam(rate, b2=self.beta2, eps=1e-8))

    def _schedule(self, steps: int) -> optax.Schedule:
        rest = max(1, steps - self.warmup)
        fall = {
            "none": optax.constant_schedule(self.learning_rate),
            "cosine": optax.cosine_decay_schedule(
                self.learning_rate, rest, alpha=self.final
            ),
            "linear": optax.linear_schedule(
                self.learning_rate, self.learning_rate * self.final, rest
            ),
        }[self.decay]
        if self.warmup == 0:
            return fall
        rise = optax.linear_schedule(0.0, self.learning_rate, self.warmup)
        return optax.join_schedules([rise, fall], [self.warmup])


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How hypotheses are found."""

    beam_size: int = 5
    """Hypotheses followed at a time; 1 is greedy."""
    length_penalty: float = 1.0
    """GNMT's alpha: 0 favours short hypotheses."""
    max_ratio: float = 2.0
    """Longest hypothesis in tokens, as a multiple of the source's, and 10 more."""
    forbid_unk: bool = False
    """Never write UNK (the paper's "No UNK" column)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A whole translation run."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Sentence pairs."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """How text becomes ids; made from the training side, kept in the run."""
    model: tyro.conf.AvoidSubcommands[ModelConfig] = RNNSearchConfig()
    """The model; its vocabulary sizes are set to the tokenisers'."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How parameters move."""
    search: SearchConfig = SearchConfig()
    """How hypotheses are found in `evaluate` and `decode`."""
    seed: int = 0
    """Of parameters, dropout and data order."""
    steps: int = 10_000
    """Updates in all."""
    batch_tokens: int = 2048
    """Most positions of a batch on either side, padding included."""
    buckets: int = 8
    """Number of batch shapes; each is compiled once."""
    max_length: int = 60
    """Longest side of a training pair in ids; longer pairs are left out."""
    source_limit: int = 400
    """Longest source that `evaluate` and `decode` take, in ids."""
    accumulate: int = 1
    """Parts in which a batch is taken one after another, to save memory."""
    label_smoothing: float = 0.0
    """Share of the target spread over the whole vocabulary."""
    log_every: int = 50
    """Steps between lines of the log."""
    evaluate_every: int = 500
    """Steps between validations."""
    save_every: int = 500
    """Steps between checkpoints."""
