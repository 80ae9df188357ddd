"""Five answers to one question: where should a decoder look?

The systems: a fixed vector (Cho et al. 2014, arXiv:1406.1078), two cursors whose paths
  are all summed over (Graves 2012, arXiv:1211.3711; Wu & Cotterell 2019,
  arXiv:1905.06319) or that move in step (what was tried in between), RNNSearch
  (Bahdanau, Cho & Bengio 2015, arXiv:1409.0473), the Transformer (Vaswani et al.
  2017, arXiv:1706.03762). With `--systems` also Seq2Seq (Sutskever, Vinyals & Le 2014,
  arXiv:1409.3215), which is no part of the default table.
Data: phrases generated from CLDR; English to French keeps most of its order,
  English to Japanese reorders dates.
Expect (RESULTS.md): exact match on held-out phrases, in the order of `SYSTEMS`, of
  0.08, 0.99, 0.89, 0.98 and 0.87 to French, of 0.06, 0.99, 0.73, 0.96 and 0.88 to
  Japanese.
Cost: 4 to 7 minutes on two CPU cores.

Run: python -m experiments.lineage
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from attnjax import BlockConfig
from attnjax.models.marginal_cursor import MarginalCursorConfig
from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.seq2seq import Seq2SeqConfig
from attnjax.models.transformer import TransformerConfig
from experiments.cli.checks import check_numbers
from experiments.cli.compilation_cache import CompilationOptions
from experiments.datasets.cldr.cldr_builder import locales
from experiments.datasets.pairs.tokenized import TokenizerConfig
from experiments.errors import UserError
from experiments.training.optimizer import OptimizerConfig
from experiments.translate.config import ModelConfig


class System(NamedTuple):
    """One system of the lineage.

    A row in `SYSTEMS` adds it to the comparison, a row in `MORE_SYSTEMS` to what may be
    named with `--systems`.
    """

    name: str  # in results.json and in paths
    title: str  # on the screen and in pictures
    model: ModelConfig


# About 320,000 parameters each.
SYSTEMS = (
    System(
        "fixed-vector",
        "fixed vector",
        RNNEncoderDecoderConfig(
            embed_dim=64, hidden_dim=120, readout_dim=64, init="glorot"
        ),
    ),
    System(
        "marginal-cursor",
        "marginalised cursors",
        MarginalCursorConfig(
            embed_dim=64, hidden_dim=108, align_dim=48, readout_dim=64, max_jump=8
        ),
    ),
    System(
        "diagonal",
        "diagonal cursors",
        RNNSearchConfig(
            embed_dim=64,
            hidden_dim=96,
            readout_dim=64,
            aligner="diagonal",
            init="glorot",
        ),
    ),
    System(
        "rnnsearch",
        "RNNSearch",
        RNNSearchConfig(
            embed_dim=64, hidden_dim=96, align_dim=48, readout_dim=64, init="glorot"
        ),
    ),
    System(
        "transformer",
        "Transformer",
        TransformerConfig(
            # One large block a side learns faster here than two or three small ones,
            # and sinusoidal positions faster than RoPE.
            encoder_layers=1,
            decoder_layers=1,
            block=BlockConfig(
                d_model=96,
                num_heads=4,
                d_ff=304,  # gives it as many parameters as the others
                activation="gelu",
                pre_norm=True,
            ),
            share_embeddings=False,  # two vocabularies
        ),
    ),
)
MORE_SYSTEMS = (
    System(
        "seq2seq",
        "Seq2Seq",
        # Two layers learn less in these few steps.
        Seq2SeqConfig(embed_dim=64, hidden_dim=136, num_layers=1, init="glorot"),
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineageConfig(CompilationOptions):
    """Trains the lineage on two language pairs, and compares its systems."""

    out: Path | None = None
    """New or empty folder for results (default: runs/lineage, runs/lineage-2, ...)."""
    resume: bool = False
    """Resume the lineage in the folder (default: the newest of those names)."""
    pairs: tuple[str, ...] = ("en-fr", "en-ja")
    """Pairs of locales, such as en-fr or en-de."""
    systems: tuple[str, ...] = ()
    """Names of the systems to compare: fixed-vector, marginal-cursor, diagonal,
    rnnsearch, transformer, which are the default, and seq2seq."""
    steps: int = 1_050
    """Number of optimiser steps of each system on each pair."""
    batch_tokens: int = 896
    """Number of positions per batch on either side, padding included, at most."""
    train: int = 24_000
    """Number of training phrases per pair."""
    test: int = 1_000
    """Number of test phrases per pair; their dates, numbers and names do not occur in
    training phrases."""
    seed: int = 0
    """Seed of the parameters, of the data order and of the phrases."""
    data_dir: Path | None = None
    """Folder for prepared data (default: $ATTNJAX_DATA_DIR or the user's cache)."""

    def check(self) -> None:
        """Checks the settings before anything is generated or written.

        Raises:
          UserError: naming the first one that is out of range.
        """
        check_numbers(self)
        if not self.pairs or len(set(self.pairs)) < len(self.pairs):
            raise UserError(
                f"pairs: expected one or more different pairs, got "
                f"{' '.join(self.pairs) or 'none'}"
            )
        for pair in self.pairs:
            locales(pair)
        known = [system.name for system in (*SYSTEMS, *MORE_SYSTEMS)]
        for name in self.systems:
            if name not in known or self.systems.count(name) > 1:
                raise UserError(
                    f"systems: expected different ones of {', '.join(known)}, got "
                    f"{' '.join(self.systems)}"
                )

    @property
    def chosen(self) -> tuple[System, ...]:
        """The systems to compare, in the order of the story."""
        if not self.systems:
            return SYSTEMS
        every = (*SYSTEMS, *MORE_SYSTEMS)
        return tuple(system for system in every if system.name in self.systems)

    @property
    def optimizer(self) -> OptimizerConfig:
        """Adam; a high learning rate with cosine decay suits short trainings."""
        return OptimizerConfig(
            learning_rate=6e-3,
            warmup_steps=min(50, self.steps // 4),
            lr_schedule="cosine",
        )

    @property
    def tokenizer(self) -> TokenizerConfig:
        """One id for each token of the phrases, a few hundred in all."""
        return TokenizerConfig(
            kind="words", source_vocab_size=8_000, target_vocab_size=8_000
        )
