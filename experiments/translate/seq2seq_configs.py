"""Configs of Seq2Seq: a deep LSTM without attention that reads the source backwards.

Paper: Sutskever, Vinyals & Le 2014 (arXiv:1409.3215).

multi30k-seq2seq, multi30k-seq2seq-forward: captions of images, English to German, with
    as many parameters as multi30k-rnnsearch; the source backwards, or forwards and all
    else equal. --seed 1 and --seed 2 make the members of an ensemble.
  Run: python -m experiments.translate train multi30k-seq2seq --data.raw-dir DIR

text-seq2seq: parallel text of your own, with the same sizes.
  Run: python -m experiments.translate train text-seq2seq --data.train a.en a.de
    --data.held-out-validation 1000 --data.held-out-test 1000

wmt14-seq2seq: the paper's own set-up, sections 3.1 to 3.4, for tokenised text files of
    WMT'14 English-French: 4 layers of 1,000 cells, 384M parameters.
  Expect: the paper's BLEU of 30.59 on newstest2014 with a beam of 12; 26.17 with
    --no-model.reverse-source; 34.81 with an ensemble of five. Not run here.
  Cost: ten days on the paper's 8 GPUs.
  Run: python -m experiments.translate train wmt14-seq2seq --data.train
    train.en train.fr --data.validation dev.en dev.fr --data.test test.en test.fr
"""

import dataclasses

from attnjax.models.seq2seq import Seq2SeqConfig
from experiments.datasets.multi30k.multi30k_builder import Multi30k
from experiments.datasets.pairs.tokenized import TokenizerConfig
from experiments.datasets.parallel_text.parallel_text_builder import ParallelText
from experiments.training.optimizer import OptimizerConfig
from experiments.translate.config import Config, SearchConfig

EPOCH = 93_750  # steps: 12 million sentences in batches of 128

# Section 3.4. Sizes and initial parameters are Seq2SeqConfig's defaults.
WMT14_SEQ2SEQ = Config(
    data=ParallelText(train=()),
    tokenizer=TokenizerConfig(
        kind="words", source_vocab_size=160_000, target_vocab_size=80_000
    ),
    model=Seq2SeqConfig(),
    optimizer=OptimizerConfig(
        name="sgd",
        learning_rate=0.7,
        lr_schedule="step",
        # The paper halves every half epoch "after 5 epochs": here at 5, 5.5, ... 7.
        decay_begin=EPOCH * 9 // 2,
        decay_every=EPOCH // 2,
        max_grad_norm=5.0,
    ),
    # The paper divides the summed gradient by the batch size: the rate of 0.7 and the
    # norm of 5 belong to the mean over sentences.
    mean_over="sentences",
    search=SearchConfig(beam_size=12, length_penalty=0.0),
    steps=EPOCH * 15 // 2,
    batch_size=128,
    max_length=50,
    eval_every=10_000,
    save_every=2_000,
)

# As many parameters as multi30k-rnnsearch has.
SMALL = Seq2SeqConfig(
    embed_dim=264,
    hidden_dim=264,
    num_layers=2,
    tie_output=True,  # fewer parameters for so little text to fit
    dropout=0.2,
    init="glorot",
)
MULTI30K_SEQ2SEQ = Config(
    data=Multi30k(pair="en-de"),
    tokenizer=TokenizerConfig(joint=True, source_vocab_size=5_000),
    model=SMALL,
    optimizer=OptimizerConfig(
        learning_rate=2e-3, warmup_steps=500, lr_schedule="cosine"
    ),
    steps=8_000,
    ema_decay=0.999,
    batch_tokens=1024,
    label_smoothing=0.1,
    eval_every=1_000,
    save_every=250,
)

MULTI30K_SEQ2SEQ_FORWARD = dataclasses.replace(
    MULTI30K_SEQ2SEQ, model=dataclasses.replace(SMALL, reverse_source=False)
)

TEXT_SEQ2SEQ = dataclasses.replace(MULTI30K_SEQ2SEQ, data=ParallelText(train=()))
