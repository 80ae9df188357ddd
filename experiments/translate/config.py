"""What a translation run is made of: its data, its model, its optimiser."""

import dataclasses
from typing import Any, Literal

import optax
import tyro

from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from experiments.datasets.cldr.cldr_builder import Cldr
from experiments.datasets.encode import TokenizerConfig
from experiments.datasets.pairs import Multi30k, ParallelText
from experiments.errors import UserError

DataConfig = Multi30k | Cldr | ParallelText
ModelConfig = RNNSearchConfig | RNNEncoderDecoderConfig

# Settings that mean nothing below 1, below 0, and outside of [0, 1).
_COUNTS = (
    *("steps", "batch_tokens", "batch_sentences", "row_multiple", "buckets"),
    *("max_length", "source_limit", "accumulate", "log_every", "beam_size"),
    *("embed_dim", "hidden_dim", "align_dim", "readout_dim"),
)
_AMOUNTS = (
    *("evaluate_every", "save_every", "learning_rate", "warmup", "final"),
    *("clip_norm", "length_penalty", "max_ratio"),
)
_SHARES = ("label_smoothing", "beta2", "dropout")


def check_numbers(part: Any, name: str = "") -> None:
    """Checks the numbers of a config and of its parts.

    Raises:
      UserError: naming the first that makes no sense.
    """
    for field in dataclasses.fields(part):
        value, dotted = getattr(part, field.name), f"{name}{field.name}"
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{dotted}.")
        elif value is None:
            continue
        elif field.name in _COUNTS and value < 1:
            raise UserError(f"{dotted}: expected at least 1, got {value}")
        elif field.name in _AMOUNTS and not value >= 0:
            raise UserError(f"{dotted}: expected at least 0, got {value}")
        elif field.name in _SHARES and not 0 <= value < 1:
            raise UserError(f"{dotted}: expected a share from 0 to 1, got {value}")


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
class Config:
    """A whole translation run."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Sentence pairs."""
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    """How text becomes ids; made from the training side, kept in the run."""
    model: tyro.conf.AvoidSubcommands[ModelConfig] = dataclasses.field(
        default_factory=RNNSearchConfig
    )
    """The model; its vocabulary sizes are set to the tokenisers'."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How parameters move."""
    search: SearchConfig = SearchConfig()
    """How hypotheses are found in `evaluate` and `decode`."""
    seed: int = 0
    """Of parameters, dropout and the order of the data."""
    steps: int = 10_000
    """Updates in all."""
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
    accumulate: int = 1
    """Parts in which a batch is taken one after another, to save memory."""
    label_smoothing: float = 0.0
    """Share of the target spread over the whole vocabulary."""
    log_every: int = 50
    """Steps between lines of the log."""
    evaluate_every: int = 500
    """Steps between validations, each with a checkpoint; 0: only after the last."""
    save_every: int = 500
    """Steps between checkpoints; 0: only at validations."""
