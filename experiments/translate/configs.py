"""The translation runs that have names.

multi30k-*: image captions, English to German (Elliott et al. 2016), on two CPU cores.
wmt14-rnnsearch-50: the set-up of Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), for
  text files of WMT'14 English-French; expect BLEU 26.75 (28.45 trained five epochs).
cldr-*: the embedded phrases, without any file; minutes.

Run:   python -m experiments.translate train multi30k-rnnsearch --data.raw-dir DIR
Smoke: python -m experiments.translate train cldr-smoke
"""

import dataclasses

from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from experiments.datasets.cldr.cldr_builder import Cldr
from experiments.datasets.encode import TokenizerConfig
from experiments.datasets.pairs import Multi30k, ParallelText
from experiments.translate.config import Config, OptimizerConfig, SearchConfig

# The paper: appendices A and B. Sizes are RNNSearchConfig's defaults.
WMT14_RNNSEARCH = Config(
    data=ParallelText(train=()),
    tokenizer=TokenizerConfig(kind="words", source_size=30_000, target_size=30_000),
    model=RNNSearchConfig(),
    optimizer=OptimizerConfig(name="adadelta", learning_rate=1.0, clip_norm=1.0),
    search=SearchConfig(beam_size=12),
    steps=667_000,  # RNNsearch-50*: 6.67e5 updates, 5 epochs
    batch_tokens=80 * 51,  # 80 sentences of up to 50 words and EOS
    max_length=50,
    evaluate_every=10_000,
    save_every=2_000,
)

MULTI30K_RNNSEARCH = Config(
    data=Multi30k(pair="en-de"),
    tokenizer=TokenizerConfig(joint=True, source_size=8_000),
    model=RNNSearchConfig(
        embed_dim=256,
        hidden_dim=512,
        align_dim=512,
        readout_dim=256,
        tie_output=True,  # a third fewer parameters for 29,000 sentences to fit
        dropout=0.4,
        init="glorot",
    ),
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup=300, decay="cosine"),
    steps=6_000,  # 20 epochs
    label_smoothing=0.1,
    evaluate_every=300,
    save_every=300,
)

MULTI30K_FIXED_VECTOR = dataclasses.replace(
    MULTI30K_RNNSEARCH,
    model=RNNEncoderDecoderConfig(
        embed_dim=256,
        # Wider than RNNSearch's 512: the two models have as many parameters.
        hidden_dim=688,
        readout_dim=256,
        tie_output=True,
        dropout=0.4,
        init="glorot",
    ),
)

CLDR_RNNSEARCH = Config(
    data=Cldr(pair="en-fr"),
    tokenizer=TokenizerConfig(kind="words", source_size=4_000, target_size=4_000),
    model=RNNSearchConfig(
        embed_dim=64,
        hidden_dim=128,
        align_dim=128,
        readout_dim=64,
        init="glorot",
    ),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup=100, decay="cosine"),
    steps=1_500,
    buckets=3,
    evaluate_every=500,
    save_every=500,
)

CLDR_SMOKE = dataclasses.replace(
    CLDR_RNNSEARCH,
    data=Cldr(pair="en-fr", train=400, validation=20, test=20),
    steps=4,
    buckets=1,
    evaluate_every=4,
    save_every=2,
    log_every=2,
)

CONFIGS: dict[str, tuple[str, Config]] = {
    "multi30k-rnnsearch": ("Captions, additive attention.", MULTI30K_RNNSEARCH),
    "multi30k-fixed-vector": (
        "Captions, the whole sentence in one vector.",
        MULTI30K_FIXED_VECTOR,
    ),
    "cldr-en-fr": ("Embedded phrases, English to French.", CLDR_RNNSEARCH),
    "cldr-en-ja": (
        "Embedded phrases, English to Japanese.",
        dataclasses.replace(CLDR_RNNSEARCH, data=Cldr(pair="en-ja")),
    ),
    "cldr-smoke": ("Four steps on a few phrases: does it run?", CLDR_SMOKE),
    "wmt14-rnnsearch-50": (
        "The paper's own RNNsearch-50, for WMT'14 text files.",
        WMT14_RNNSEARCH,
    ),
}
