"""Named configs of runs that read words and digits; measured figures are in RESULTS.md.

cmudict-transducer: letters to phones of the CMU Pronouncing Dictionary, without stress.
  Paper: Graves 2012 (arXiv:1211.3711) for the model; Rao et al. 2015 (ICASSP) have a
    WER of 25.8 % by CTC, on another split of another edition.
  Expect: a WER of 24.7 % and a PER of 5.7 % on the test words, by a beam of 5.
  Cost: 28 minutes of one CPU core.
  Run: python -m experiments.transduce train cmudict-transducer --data.raw-dir DIR

cmudict-rnnsearch: the same words by RNNSearch (Bahdanau, Cho & Bengio 2015) on letters.
  Expect: a WER of 27.7 % and a PER of 6.4 % on the test words, by a beam of 5.
  Cost: an hour of one CPU core.
  Run: python -m experiments.transduce train cmudict-rnnsearch --data.raw-dir DIR

digits-transducer: connected spoken digits of the Free Spoken Digit Dataset.
  Paper: Graves 2012 for the model; no published figure for these utterances.
  Expect: a digit error rate of 28 % on the speaker who is held out, of 2.4 % on other
    recordings of the speakers in training.
  Cost: 7 minutes of one CPU core, 40 where many others share it.
  Run: python -m experiments.transduce train digits-transducer --data.raw-dir DIR

digits-ctc: the same by CTC (Graves et al. 2006).
  Expect: a digit error rate of 23 % on the speaker who is held out, of 1.6 % on other
    recordings of the speakers in training.
  Cost: 16 minutes of one CPU core that others share.
  Run: python -m experiments.transduce train digits-ctc --data.raw-dir DIR

words-transducer, words-rnnsearch: made-up words with rules of spelling; no file needed.
  Cost: a minute on one CPU core.

smoke: four steps on made-up words, to see that it runs. Seconds.
"""

import dataclasses

from attnjax.models.ctc import CTCConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transducer import TransducerConfig
from experiments.datasets.cmudict.cmudict_builder import CMUdict
from experiments.datasets.readings.made_up_words import MadeUpWords
from experiments.datasets.spoken_digits.spoken_digits_builder import SpokenDigits
from experiments.training.optimizer import OptimizerConfig
from experiments.transduce.config import Config

CMUDICT_TRANSDUCER = Config(
    data=CMUdict(),
    model=TransducerConfig(hidden_dim=256, num_layers=2, dropout=0.2),
    optimizer=OptimizerConfig(
        learning_rate=3e-3, warmup_steps=200, lr_schedule="cosine"
    ),
    steps=12_000,  # ten epochs
    batch_tokens=1_024,
    num_buckets=3,
    ema_decay=0.999,
    eval_every=1_500,
    save_every=250,
)

CMUDICT_RNNSEARCH = dataclasses.replace(
    CMUDICT_TRANSDUCER,
    model=RNNSearchConfig(
        embed_dim=64,
        hidden_dim=256,
        num_layers=2,
        align_dim=128,
        readout_dim=128,
        dropout=0.2,
        init="glorot",
    ),
)

DIGITS_TRANSDUCER = Config(
    data=SpokenDigits(),
    model=TransducerConfig(
        embed_dim=32, hidden_dim=96, num_layers=2, joint_dim=96, dropout=0.2
    ),
    optimizer=OptimizerConfig(
        learning_rate=3e-3, warmup_steps=200, lr_schedule="cosine"
    ),
    steps=2_500,
    batch_tokens=1_536,
    num_buckets=3,
    max_length=110,
    ema_decay=0.99,
    eval_every=500,
    save_every=250,
)

DIGITS_CTC = dataclasses.replace(
    DIGITS_TRANSDUCER, model=CTCConfig(hidden_dim=96, num_layers=2, dropout=0.2)
)

WORDS_TRANSDUCER = Config(
    data=MadeUpWords(),
    model=TransducerConfig(embed_dim=16, hidden_dim=32, joint_dim=32),
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=20),
    steps=300,
    batch_tokens=1_024,
    num_buckets=1,
    eval_every=100,
    save_every=100,
)

WORDS_RNNSEARCH = dataclasses.replace(
    WORDS_TRANSDUCER,
    model=RNNSearchConfig(
        embed_dim=16, hidden_dim=32, align_dim=32, readout_dim=32, init="glorot"
    ),
)

SMOKE = dataclasses.replace(
    WORDS_TRANSDUCER,
    data=MadeUpWords(train=200, validation=20, test=20),
    steps=4,
    eval_every=4,
    save_every=2,
    log_every=2,
)

CONFIGS: dict[str, tuple[str, Config]] = {
    "cmudict-transducer": (
        "Letters to phones of CMUdict (--data.raw-dir): an RNN Transducer.",
        CMUDICT_TRANSDUCER,
    ),
    "cmudict-rnnsearch": (
        "Letters to phones of CMUdict: RNNSearch.",
        CMUDICT_RNNSEARCH,
    ),
    "digits-transducer": (
        "Spoken digits, connected (--data.raw-dir): an RNN Transducer.",
        DIGITS_TRANSDUCER,
    ),
    "digits-ctc": ("Spoken digits, connected: CTC.", DIGITS_CTC),
    "words-transducer": (
        "Made-up words, no files needed: an RNN Transducer.",
        WORDS_TRANSDUCER,
    ),
    "words-rnnsearch": ("Made-up words, no files needed: RNNSearch.", WORDS_RNNSEARCH),
    "smoke": ("Four steps on made-up words, to see that it runs.", SMOKE),
}
