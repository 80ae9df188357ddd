"""Four answers to one question: where should a decoder look?

The systems: a fixed vector (Cho et al. 2014, arXiv:1406.1078), two cursors that
  move in step (what was tried in between), RNNSearch (Bahdanau, Cho & Bengio 2015,
  arXiv:1409.0473), the Transformer (Vaswani et al. 2017, arXiv:1706.03762).
Data: phrases generated from CLDR; English to French keeps most of its order,
  English to Japanese turns dates around.
Expect (RESULTS.md): exact match on held-out phrases, in this order, of 0.08, 0.88,
  0.98 and 0.87 to French, of 0.06, 0.73, 0.96 and 0.88 to Japanese.
Cost: 5 to 6 minutes on two CPU cores.

Run: python -m experiments.lineage
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from attnjax import BlockConfig
from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transformer import TransformerConfig
from experiments.datasets.pairs.tokenized import TokenizerConfig
from experiments.training.config import OptimizerConfig
from experiments.translate.config import ModelConfig


class Entry(NamedTuple):
    """One system of the lineage; add a row to `ENTRIES` and it joins the race."""

    name: str  # in results.json and in paths
    title: str  # on the screen and in pictures
    model: ModelConfig


# About 320,000 parameters each.
ENTRIES = (
    Entry(
        "fixed-vector",
        "fixed vector",
        RNNEncoderDecoderConfig(
            embed_dim=64, hidden_dim=120, readout_dim=64, init="glorot"
        ),
    ),
    Entry(
        "diagonal",
        "diagonal cursors",
        RNNSearchConfig(
            embed_dim=64,
            hidden_dim=96,
            readout_dim=64,
            alignment="diagonal",
            init="glorot",
        ),
    ),
    Entry(
        "rnnsearch",
        "RNNSearch",
        RNNSearchConfig(
            embed_dim=64, hidden_dim=96, align_dim=48, readout_dim=64, init="glorot"
        ),
    ),
    Entry(
        "transformer",
        "Transformer",
        TransformerConfig(
            # One block a side: wide ones learn faster here than two or three that
            # are narrow, and sines faster than rotary positions.
            encoder_layers=1,
            decoder_layers=1,
            block=BlockConfig(
                d_model=96,
                num_heads=4,
                d_ff=304,  # which makes it as large as the others
                activation="gelu",
                pre_norm=True,
            ),
            share_embeddings=False,  # two word lists
        ),
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineageConfig:
    """Trains the lineage on both pairs, and shows what each system can do."""

    out: Path | None = None
    """Folder for results, new (default: runs/lineage, runs/lineage-2, ...)."""
    resume: bool = False
    """Go on with the lineage in the folder (default: the newest of those names)."""
    pairs: tuple[str, ...] = ("en-fr", "en-ja")
    """Pairs of locales, such as en-fr or en-de."""
    steps: int = 1_050
    """Updates of each system on each pair: the budget all share."""
    batch_tokens: int = 896
    """Most positions of a batch on either side, padding included."""
    train: int = 24_000
    """Training phrases a pair."""
    test: int = 1_000
    """Test phrases a pair; their dates, numbers and names were never seen."""
    seed: int = 0
    """Of parameters, data order and phrases."""
    data_dir: Path | None = None
    """Where prepared data are kept (default: $ATTNJAX_DATA_DIR or the user's cache)."""

    @property
    def optimizer(self) -> OptimizerConfig:
        """High and falling: a short race is run fast first and with care at the end."""
        return OptimizerConfig(
            learning_rate=6e-3, warmup=min(50, self.steps // 4), decay="cosine"
        )

    @property
    def tokenizer(self) -> TokenizerConfig:
        """Units as they are; a few hundred."""
        return TokenizerConfig(
            kind="words", source_vocab_size=8_000, target_vocab_size=8_000
        )
