"""Named configs of translation runs; measured figures are in RESULTS.md.

multi30k-rnnsearch, multi30k-fixed-vector: captions of images, English to German.
  Paper: Elliott, Frank, Sima'an & Specia 2016 (arXiv:1605.00459) for the data; the
    models are small forms of Bahdanau, Cho & Bengio 2015 and Cho et al. 2014.
  Cost: 50 minutes on two CPU cores.
  Run: python -m experiments.translate train multi30k-rnnsearch --data.raw-dir DIR

multi30k-transformer: the same captions; the Transformer of Vaswani et al. 2017
    (arXiv:1706.03762) with 3+3 pre-norm layers, d_model 256;
    --data.pair en-fr for French.
multi30k-transformer-rope: the same size with later changes: RoPE, RMSNorm (pre-norm),
    SwiGLU, no biases.
  Cost: an hour on two CPU cores.
  Run: python -m experiments.translate train multi30k-transformer --data.raw-dir DIR

wmt14-transformer-base, wmt14-transformer-big: the set-up of Vaswani et al. 2017,
  sections 5.1 to 5.4 and 6.1, for the text files of WMT'14 English-German.
  Expect: the paper's BLEU of 27.3 and 28.4 on newstest2014. Not run here.
  Cost: 12 hours and 3.5 days on the paper's 8 GPUs.
  Run: python -m experiments.translate train wmt14-transformer-base --data.train
    train.en train.de --data.validation dev.en dev.de --data.test test.en test.de
    and then: python -m experiments.translate evaluate RUN --checkpoint mean

wmt14-rnnsearch-50: the set-up of Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473),
  appendices A and B, for tokenised text files of WMT'14 English-French.
  Expect: the paper's BLEU of 26.75 on newstest2014, of 28.45 when trained for as long
    as here (RNNsearch-50*). Not run here.
  Cost: ten days on the paper's GPU.
  Run: python -m experiments.translate train wmt14-rnnsearch-50 --data.train
    train.en train.fr --data.validation dev.en dev.fr --data.test test.en test.fr

text-transformer, text-transformer-rope, text-rnnsearch: parallel text of your own, raw,
  with the sizes of multi30k-transformer, multi30k-transformer-rope, multi30k-rnnsearch.
  Run: python -m experiments.translate train text-transformer --data.train a.en a.de
    --data.held-out-validation 1000 --data.held-out-test 1000
    and for a file of columns, English first, from German to English:
    --data.train deu-eng.tsv --data.source-column 2

text-aligner: parallel text and links of your own; see aligner_config.py.

multi30k-seq2seq, multi30k-seq2seq-forward, text-seq2seq, wmt14-seq2seq: a deep LSTM
    without attention; see seq2seq_configs.py.

cldr-en-fr, cldr-en-ja: phrases generated from CLDR, with gold alignments; needs no
    file.
  Cost: minutes on two CPU cores.
  Run: python -m experiments.translate train cldr-en-ja

cldr-en-fr-cursors, cldr-en-ja-cursors: the same phrases; the alignment is summed over
    exactly (Wu & Cotterell 2019, arXiv:1905.06319). With --model.moves monotone the
    cursor never goes back, which Japanese needs.
  Cost: minutes on two CPU cores.
  Run: python -m experiments.translate train cldr-en-ja-cursors

cldr-smoke: four steps on a few of those phrases, to see that it runs. Seconds.
"""

import dataclasses

from attnjax import BlockConfig
from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transformer import TransformerConfig
from experiments.datasets.cldr.cldr_builder import Cldr
from experiments.datasets.multi30k.multi30k_builder import Multi30k
from experiments.datasets.pairs.tokenized import TokenizerConfig
from experiments.datasets.parallel_text.parallel_text_builder import ParallelText
from experiments.training.optimizer import OptimizerConfig
from experiments.translate.aligner_config import TEXT_ALIGNER
from experiments.translate.cldr_configs import CLDR_CURSORS, CLDR_RNNSEARCH, CLDR_SMOKE
from experiments.translate.config import Config, SearchConfig
from experiments.translate.seq2seq_configs import (
    MULTI30K_SEQ2SEQ,
    MULTI30K_SEQ2SEQ_FORWARD,
    TEXT_SEQ2SEQ,
    WMT14_SEQ2SEQ,
)

# The paper: appendices A and B. Sizes are RNNSearchConfig's defaults.
WMT14_RNNSEARCH = Config(
    data=ParallelText(train=()),
    tokenizer=TokenizerConfig(
        kind="words", source_vocab_size=30_000, target_vocab_size=30_000
    ),
    model=RNNSearchConfig(),
    optimizer=OptimizerConfig(name="adadelta", learning_rate=1.0, max_grad_norm=1.0),
    search=SearchConfig(beam_size=12),
    steps=667_000,  # RNNsearch-50*: 6.67e5 updates, 5 epochs
    batch_size=80,
    max_length=50,
    eval_every=10_000,
    save_every=2_000,
)

MULTI30K_RNNSEARCH = Config(
    data=Multi30k(pair="en-de"),
    # Small vocabulary, model and batches: 29,000 sentences for 20 epochs.
    tokenizer=TokenizerConfig(joint=True, source_vocab_size=5_000),
    model=RNNSearchConfig(
        embed_dim=256,
        hidden_dim=256,
        align_dim=256,
        readout_dim=256,
        tie_output=True,  # fewer parameters for so little text to fit
        dropout=0.2,
        init="glorot",
    ),
    optimizer=OptimizerConfig(
        learning_rate=1e-3, warmup_steps=500, lr_schedule="cosine"
    ),
    steps=12_000,
    ema_decay=0.999,
    batch_tokens=1024,
    label_smoothing=0.1,
    eval_every=1_000,
    save_every=250,
)

MULTI30K_FIXED_VECTOR = dataclasses.replace(
    MULTI30K_RNNSEARCH,
    model=RNNEncoderDecoderConfig(
        embed_dim=256,
        # Larger than RNNSearch's 256, so that both models have as many parameters.
        hidden_dim=348,
        readout_dim=256,
        tie_output=True,
        dropout=0.2,
        init="glorot",
    ),
)

MULTI30K_TRANSFORMER = dataclasses.replace(
    MULTI30K_RNNSEARCH,
    model=TransformerConfig(
        encoder_layers=3,
        decoder_layers=3,
        block=BlockConfig(
            d_model=256, num_heads=4, d_ff=512, pre_norm=True, dropout=0.2
        ),
        max_length=256,
    ),
    optimizer=OptimizerConfig(
        learning_rate=1e-3, warmup_steps=1_000, lr_schedule="cosine"
    ),
)

MULTI30K_TRANSFORMER_ROPE = dataclasses.replace(
    MULTI30K_TRANSFORMER,
    model=TransformerConfig(
        encoder_layers=3,
        decoder_layers=3,
        block=BlockConfig(
            d_model=256,
            num_heads=4,
            d_ff=352,  # 3 matrices of 352 have the size of 2 of 512
            activation="swiglu",
            norm="rms",
            pre_norm=True,
            use_bias=False,
            position_embedding="rope",
            dropout=0.2,
        ),
        max_length=256,
    ),
)

# Sections 5.1 (37,000 joint pieces, 25,000 tokens a side), 5.3 (Adam, warm-up of 4,000
# steps to 1 / sqrt(512 * 4000)), 5.4 (dropout, label smoothing) and 6.1 (beam search,
# checkpoint averaging).
WMT14_TRANSFORMER_BASE = Config(
    data=ParallelText(train=()),
    tokenizer=TokenizerConfig(kind="bpe", joint=True, source_vocab_size=37_000),
    model=TransformerConfig(block=BlockConfig(dropout=0.1)),
    optimizer=OptimizerConfig(
        learning_rate=6.99e-4,
        warmup_steps=4_000,
        lr_schedule="inverse_sqrt",
        epsilon=1e-9,
        max_grad_norm=None,
    ),
    search=SearchConfig(beam_size=4, length_penalty=0.6),
    steps=100_000,
    batch_tokens=25_000,
    max_length=256,
    label_smoothing=0.1,
    eval_every=5_000,
    save_every=1_400,  # ten minutes of the paper's
    keep_last=5,
)

WMT14_TRANSFORMER_BIG = dataclasses.replace(
    WMT14_TRANSFORMER_BASE,
    model=TransformerConfig(
        block=BlockConfig(d_model=1_024, num_heads=16, d_ff=4_096, dropout=0.3)
    ),
    optimizer=dataclasses.replace(
        WMT14_TRANSFORMER_BASE.optimizer, learning_rate=4.94e-4
    ),
    steps=300_000,
    save_every=600,
    keep_last=20,
)

# Parallel text of your own, in the sizes for captions, which suit small data.
YOURS = ParallelText(train=())
TEXT_TRANSFORMER = dataclasses.replace(MULTI30K_TRANSFORMER, data=YOURS)
TEXT_TRANSFORMER_ROPE = dataclasses.replace(MULTI30K_TRANSFORMER_ROPE, data=YOURS)
TEXT_RNNSEARCH = dataclasses.replace(MULTI30K_RNNSEARCH, data=YOURS)

CONFIGS: dict[str, tuple[str, Config]] = {
    "multi30k-rnnsearch": (
        "Image captions, English to German: RNNSearch.",
        MULTI30K_RNNSEARCH,
    ),
    "multi30k-fixed-vector": (
        "Image captions, English to German: one vector encodes the sentence.",
        MULTI30K_FIXED_VECTOR,
    ),
    "multi30k-seq2seq": (
        "Image captions, English to German: Seq2Seq, the source read backwards.",
        MULTI30K_SEQ2SEQ,
    ),
    "multi30k-seq2seq-forward": (
        "Image captions, English to German: Seq2Seq, the source read forwards.",
        MULTI30K_SEQ2SEQ_FORWARD,
    ),
    "multi30k-transformer": (
        "Image captions, English to German: a small Transformer.",
        MULTI30K_TRANSFORMER,
    ),
    "multi30k-transformer-rope": (
        "Image captions, English to German: RoPE, RMSNorm and SwiGLU.",
        MULTI30K_TRANSFORMER_ROPE,
    ),
    "wmt14-transformer-base": (
        "The Transformer paper's base model, for files of WMT'14.",
        WMT14_TRANSFORMER_BASE,
    ),
    "wmt14-transformer-big": (
        "The Transformer paper's big model, for files of WMT'14.",
        WMT14_TRANSFORMER_BIG,
    ),
    "text-transformer": (
        "Parallel text of your own (--data.train, --data.validation): a Transformer.",
        TEXT_TRANSFORMER,
    ),
    "text-transformer-rope": (
        "Parallel text of your own: a Transformer with RoPE, RMSNorm and SwiGLU.",
        TEXT_TRANSFORMER_ROPE,
    ),
    "text-rnnsearch": (
        "Parallel text of your own (--data.train, --data.validation): RNNSearch.",
        TEXT_RNNSEARCH,
    ),
    "text-seq2seq": (
        "Parallel text of your own (--data.train, --data.validation): Seq2Seq.",
        TEXT_SEQ2SEQ,
    ),
    "text-aligner": (
        "Parallel text and links of your own: a Transformer that aligns.",
        TEXT_ALIGNER,
    ),
    "wmt14-rnnsearch-50": (
        "The RNNSearch paper's RNNsearch-50, for tokenised files of WMT'14.",
        WMT14_RNNSEARCH,
    ),
    "wmt14-seq2seq": (
        "The Seq2Seq paper's deep LSTM, for tokenised files of WMT'14.",
        WMT14_SEQ2SEQ,
    ),
    "cldr-en-fr": (
        "Embedded phrases, English to French; needs no files.",
        CLDR_RNNSEARCH,
    ),
    "cldr-en-ja": (
        "Embedded phrases, English to Japanese; needs no files.",
        dataclasses.replace(CLDR_RNNSEARCH, data=Cldr(pair="en-ja")),
    ),
    "cldr-en-fr-cursors": (
        "Embedded phrases, English to French: the alignment is summed over.",
        CLDR_CURSORS,
    ),
    "cldr-en-ja-cursors": (
        "Embedded phrases, English to Japanese: the alignment is summed over.",
        dataclasses.replace(CLDR_CURSORS, data=Cldr(pair="en-ja")),
    ),
    "cldr-smoke": (
        "Four steps on a few embedded phrases, to see that it runs.",
        CLDR_SMOKE,
    ),
}
