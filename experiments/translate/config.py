"""The settings of a translation run: its data, its model, its search."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from attnjax.models.marginal_cursor import MarginalCursorConfig
from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.seq2seq import Seq2SeqConfig
from attnjax.models.transformer import TransformerConfig
from experiments.cli.checks import check_hypotheses, check_numbers
from experiments.datasets.cldr.cldr_builder import Cldr
from experiments.datasets.multi30k.multi30k_builder import Multi30k
from experiments.datasets.pairs.guided import Row, Unaligned
from experiments.datasets.pairs.tokenized import TokenizerConfig
from experiments.datasets.parallel_text.parallel_text_builder import ParallelText
from experiments.errors import UserError
from experiments.training.config import TrainingConfig

DataConfig = Multi30k | Cldr | ParallelText
ModelConfig = (
    RNNSearchConfig
    | RNNEncoderDecoderConfig
    | Seq2SeqConfig
    | MarginalCursorConfig
    | TransformerConfig
)


def max_positions(model: ModelConfig) -> int | None:
    """Returns the number of positions that a model has learned; None is no limit."""
    if not isinstance(model, TransformerConfig):
        return None
    learned = model.block.position_embedding == "learned"
    return model.max_length if learned else None


def check_aligns(
    config: ModelConfig, layer: int | None = None, heads: Sequence[int] = ()
) -> None:
    """Checks that a model has an alignment, and the layer and the heads asked for.

    Raises:
      UserError: naming what it lacks.
    """
    if isinstance(config, RNNEncoderDecoderConfig | Seq2SeqConfig):
        name = "Seq2Seq" if isinstance(config, Seq2SeqConfig) else "the fixed vector"
        raise UserError(
            f"model: expected one with attention, got {name}, which aligns nothing "
            "(train RNNSearch or a Transformer)"
        )
    asked = {"layer": () if layer is None else (layer,), "heads": tuple(heads)}
    if not isinstance(config, TransformerConfig):
        for name, values in asked.items():
            if values:
                raise UserError(
                    f"{name}: expected none, got {values[0]} (only a Transformer has "
                    "layers and heads to choose among)"
                )
        return
    sizes = {"layer": config.decoder_layers, "heads": config.block.num_heads}
    for name, values in asked.items():
        for value in values:
            if not 0 <= value < sizes[name]:
                raise UserError(
                    f"{name}: expected 0 to {sizes[name] - 1}, got {value} (count "
                    "from 0)"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Settings of beam search."""

    beam_size: int = 5
    """Number of hypotheses that beam search keeps; 1 is greedy search."""
    length_penalty: float = 1.0
    """Exponent alpha of the length penalty (GNMT); 0 favours short hypotheses."""
    coverage_penalty: float = 0.0
    """Weight beta of the coverage penalty (GNMT); above 0 it favours hypotheses that
    attend to all of the source."""
    no_repeat_ngram_size: int = 0
    """Size of n-grams that may occur only once in a hypothesis; 0 allows
    repetition."""
    max_length_ratio: float = 2.0
    """Longest hypothesis in tokens as a multiple of the source length, plus 10."""
    suppress_unk: bool = False
    """Never generate UNK (the "No UNK" column of the RNNSearch paper)."""
    replace_unk: bool = False
    """Replace each UNK by the source word with the largest attention weight."""

    def check(self, vocab_size: int) -> None:
        """Checks the settings against the size of the target vocabulary.

        Raises:
          UserError: naming the first setting that is out of range.
        """
        check_numbers(self)
        check_hypotheses("beam_size", self.beam_size, vocab_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidedAlignmentConfig:
    """Settings of guided alignment: attention is also trained on links that are given.

    Chen, Matusov, Khadivi & Peter 2016 (arXiv:1607.01628).
    """

    links: Path | None = None
    """File of links between the words of the training pairs, line by line, in Pharaoh
    format, source-target; None trains without them."""
    alignment_weight: float = 0.1
    """Weight of the loss of the links, beside the weight 1 of the tokens' loss."""
    layer: int | None = None
    """Decoder layer of a Transformer that is trained on the links, from 0; None is the
    one whose weights are the model's alignment, the last but one."""
    heads: tuple[int, ...] = ()
    """Heads of that layer, from 0, whose mean is trained on the links; by default
    all."""
    row: Row = "before"
    """Step of the decoder that is trained on a word's links: the one that predicts it,
    or the next one, after it is fed. The same option of `align` reads them."""
    unaligned: Unaligned = "free"
    """What a target word without links attends to: whatever it likes (free), or the
    source's EOS (eos), so that it has no link either when the run is asked for its
    alignment."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """All settings of a translation run."""

    data: tyro.conf.AvoidSubcommands[DataConfig]
    """Sentence pairs to train and evaluate on."""
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    """Tokenisers of both languages, trained on the training pairs and saved in the
    run."""
    model: tyro.conf.AvoidSubcommands[ModelConfig] = dataclasses.field(
        default_factory=RNNSearchConfig
    )
    """Model; its vocabulary sizes are those of the tokenisers."""
    search: SearchConfig = SearchConfig()
    """Beam search of `evaluate` and `decode`."""
    batch_tokens: int = 2048
    """Number of positions per batch on either side, padding included, at most."""
    batch_size: int | None = None
    """Number of sentence pairs per batch; replaces batch_tokens if given."""
    batch_size_multiple: int = 8
    """Divisor of the number of pairs in every batch; with 8, runs on 1, 2, 4 and 8
    devices see the same batches."""
    num_buckets: int = 8
    """Number of batch shapes (length buckets) at most; each is compiled once, and few
    data get fewer."""
    max_length: int = 60
    """Longest side of a training pair in tokens; longer pairs are left out."""
    max_source_length: int = 400
    """Longest source in tokens that `evaluate` and `decode` accept."""
    mean_over: Literal["tokens", "sentences"] = "tokens"
    """What the training loss is a mean over: target tokens, or sentences as in the
    Seq2Seq paper. The mean over sentences is larger by the tokens of a sentence, and so
    is its gradient, which learning_rate and max_grad_norm have to fit."""
    label_smoothing: float = 0.0
    """Share of the target distribution that is spread over the whole vocabulary."""
    guided_alignment: GuidedAlignmentConfig = GuidedAlignmentConfig()
    """Links that attention is trained on; by default none."""
