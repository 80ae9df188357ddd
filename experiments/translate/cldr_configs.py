"""Configs of translation runs on the embedded phrases; `configs.py` describes them."""

import dataclasses

from attnjax.models.marginal_cursor import MarginalCursorConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from experiments.datasets.cldr.cldr_builder import Cldr
from experiments.datasets.pairs.tokenized import TokenizerConfig
from experiments.training.optimizer import OptimizerConfig
from experiments.translate.config import Config

CLDR_RNNSEARCH = Config(
    data=Cldr(pair="en-fr"),
    tokenizer=TokenizerConfig(
        kind="words", source_vocab_size=4_000, target_vocab_size=4_000
    ),
    model=RNNSearchConfig(
        embed_dim=64,
        hidden_dim=128,
        align_dim=128,
        readout_dim=64,
        init="glorot",
    ),
    optimizer=OptimizerConfig(
        learning_rate=3e-3, warmup_steps=100, lr_schedule="cosine"
    ),
    steps=1_500,
    num_buckets=3,
    eval_every=500,
    save_every=500,
)

CLDR_CURSORS = dataclasses.replace(
    CLDR_RNNSEARCH,
    model=MarginalCursorConfig(
        embed_dim=64, hidden_dim=128, align_dim=64, readout_dim=64
    ),
)

CLDR_SMOKE = dataclasses.replace(
    CLDR_RNNSEARCH,
    data=Cldr(pair="en-fr", train=400, validation=20, test=20),
    steps=4,
    num_buckets=1,
    eval_every=4,
    save_every=2,
    log_every=2,
)
