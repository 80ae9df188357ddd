"""Named configs of deep LSTMs that carry their state over a text.

ptb-word: a deep LSTM on the Penn Treebank by words, one layer of 1,000.
  Paper: Graves 2013 (arXiv:1308.0850), section 3.1 and table 1: a test perplexity of
    138, dynamically evaluated 126; 126 and 117 with --weight-noise.kind fixed. The
    learning rate is the paper's 1e-4 for the summed loss of 100 steps; the length of a
    segment is not in the paper.
  Expect: not run here; ptb-word-laptop is measured in RESULTS.md.
  Cost: 11 epochs (paper); about a day on a GPU, as a batch is one sequence.
  Run: python -m experiments.language_model train ptb-word --data.raw-dir DIR
    then evaluate RUN --dynamic-learning-rate 0.01

ptb-char: the same by characters; 1.32 bits per character, dynamically 1.29.
  Run: python -m experiments.language_model train ptb-char --data.raw-dir DIR

ptb-word-laptop, ptb-char-laptop: smaller layers, batches and Adam, for one CPU core.
  Expect: a test perplexity of 142.1, dynamically 137.4; 1.561 bits per character,
    dynamically 1.553.
  Cost: five minutes on one core of an AMD EPYC.
  Run: python -m experiments.language_model train ptb-char-laptop --data.raw-dir DIR

wikitext2-lstm: two layers of 650 on Wikipedia by words, with dropout.
  Paper: the data are Merity et al. 2017's (arXiv:1609.07843); the sizes are those of
    Zaremba et al. 2014 (arXiv:1409.2329), "medium", with skip connections.
  Expect: not yet measured.
  Run: python -m experiments.language_model train wikitext2-lstm --data.raw-dir DIR

hutter: seven layers of 700 on 100 million bytes of Wikipedia.
  Paper: Graves 2013, section 3.2: 1.67 bits per byte, dynamically evaluated 1.33.
    Segments of 100 bytes; the state is reset every 100 of them. By its equations the
    network has 30.5 million weights, not the 21.3 million of the paper, which is what
    five such layers have.
  Expect: not run here.
  Run: python -m experiments.language_model train hutter --data.raw-dir DIR
"""

import dataclasses

from attnjax.models.lstm_lm import LSTMLMConfig
from experiments.datasets.text.datasets import PennTreebank, WikiText2
from experiments.datasets.text.enwik8 import Enwik8
from experiments.datasets.tokenizers.text import TextTokenizerConfig
from experiments.language_model.config import Config
from experiments.training.optimizer import OptimizerConfig

PTB_WORD = Config(
    data=PennTreebank(),
    # All 9,999 words of the text, and the four special ids.
    tokenizer=TextTokenizerConfig(kind="words", vocab_size=10_003),
    model=LSTMLMConfig(),
    optimizer=OptimizerConfig(
        name="sgd",
        learning_rate=1e-2,  # 1e-4 in the paper, whose loss is a sum over 100 steps
        momentum=0.99,
        max_grad_norm=None,  # derivatives are clipped inside the LSTM
    ),
    steps=102_300,  # 11 epochs
    batch_size=1,
    eval_every=9_296,
    save_every=1_000,
)

PTB_CHAR = dataclasses.replace(
    PTB_WORD,
    tokenizer=TextTokenizerConfig(kind="characters"),
    steps=451_600,  # 9 epochs
    eval_every=50_175,
)

PTB_WORD_LAPTOP = dataclasses.replace(
    PTB_WORD,
    model=LSTMLMConfig(embed_dim=200, hidden_dim=200, dropout=0.2, max_length=35),
    optimizer=OptimizerConfig(
        learning_rate=2e-3,
        warmup_steps=50,
        lr_schedule="cosine",
        beta2=0.999,
        max_grad_norm=1.0,
    ),
    unigram_bias=True,
    steps=2_660,  # 2 epochs
    batch_size=20,
    eval_every=665,
    save_every=665,
)

PTB_CHAR_LAPTOP = dataclasses.replace(
    PTB_WORD_LAPTOP,
    tokenizer=TextTokenizerConfig(kind="characters"),
    model=LSTMLMConfig(hidden_dim=256),
    optimizer=dataclasses.replace(PTB_WORD_LAPTOP.optimizer, learning_rate=4e-3),
    steps=4_710,  # 3 epochs
    batch_size=32,
    eval_every=785,
    save_every=785,
)

WIKITEXT2_LSTM = dataclasses.replace(
    PTB_WORD_LAPTOP,
    data=WikiText2(),
    # All 33,277 words of the text, and the four special ids.
    tokenizer=TextTokenizerConfig(kind="words", vocab_size=33_281),
    model=LSTMLMConfig(
        embed_dim=650, hidden_dim=650, num_layers=2, dropout=0.5, max_length=35
    ),
    optimizer=dataclasses.replace(PTB_WORD_LAPTOP.optimizer, learning_rate=2e-3),
    steps=59_600,  # 20 epochs
    eval_every=2_980,
    save_every=2_980,
)

HUTTER = dataclasses.replace(
    PTB_WORD,
    data=Enwik8(),
    tokenizer=TextTokenizerConfig(kind="known-bytes"),
    model=LSTMLMConfig(hidden_dim=700, num_layers=7),
    optimizer=dataclasses.replace(PTB_WORD.optimizer, momentum=0.9),
    steps=3_840_000,  # 4 epochs
    reset_every=100,
    eval_every=96_000,
)

LSTM_CONFIGS: dict[str, tuple[str, Config]] = {
    "ptb-word": (
        "Penn Treebank by words (--data.raw-dir): an LSTM as Graves 2013 published it.",
        PTB_WORD,
    ),
    "ptb-char": (
        "Penn Treebank by characters (--data.raw-dir): the same LSTM.",
        PTB_CHAR,
    ),
    "ptb-word-laptop": (
        "Penn Treebank by words (--data.raw-dir): an LSTM for one CPU core.",
        PTB_WORD_LAPTOP,
    ),
    "ptb-char-laptop": (
        "Penn Treebank by characters (--data.raw-dir): an LSTM for one CPU core.",
        PTB_CHAR_LAPTOP,
    ),
    "wikitext2-lstm": (
        "Wikipedia by words (--data.raw-dir): a deep LSTM with dropout.",
        WIKITEXT2_LSTM,
    ),
    "hutter": (
        "100 MB of Wikipedia by bytes (--data.raw-dir): seven layers of LSTM.",
        HUTTER,
    ),
}
