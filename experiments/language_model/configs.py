"""Named configs of language-model runs; measured figures are in RESULTS.md.

shakespeare-char: tiny Shakespeare by characters, on a CPU.
  Paper: none; Karpathy's nanoGPT, README, "I only have a macbook".
  Expect: nanoGPT's validation loss of 1.88 nats a character, or less. nanoGPT measures
    20 random batches, this config all of the last tenth of the text.
  Cost: minutes on two CPU cores (nanoGPT: about 3 on a MacBook).
  Run: python -m experiments.language_model train shakespeare-char
    (the text is downloaded; or name its folder with --data.raw-dir DIR)

shakespeare-char-gpu: the same text, 10.65 million parameters.
  Paper: none; nanoGPT, config/train_shakespeare_char.py.
  Expect: nanoGPT's 1.4697, at its best step; it overfits later. Here dropout is
    applied to residual sums, not to attention weights too. Not run here.
  Cost: 3 minutes on an A100 (nanoGPT).
  Run: python -m experiments.language_model train shakespeare-char-gpu

wikitext2: Wikipedia by whole words; its test perplexity compares with the papers'.
  Paper: Merity et al. 2017 (arXiv:1609.07843) for the data; the block is that of
    Touvron et al. 2023 (arXiv:2302.13971), with a small model.
  Expect: not yet measured.
  Cost: hours on two CPU cores.
  Run: python -m experiments.language_model train wikitext2 --data.raw-dir DIR

ptb-memn2n: a memory network on the Penn Treebank by words, six hops over 100 words.
  Paper: Sukhbaatar et al. 2015 (arXiv:1503.08895), section 5 and table 2: a test
    perplexity of 115, the best of ten by validation. Its recipe is gradient descent at
    0.01 for a batch of 128, divided by 1.5 whenever validation stalls; here it is Adam
    along a cosine, which needs fewer epochs. Ends of lines are words, as in the paper.
  Expect: not yet measured.
  Cost: not yet measured.
  Run: python -m experiments.language_model train ptb-memn2n --data.raw-dir DIR

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
  Expect: what RESULTS.md states, beside the paper's figures.
  Cost: about 20 minutes on one core of an AMD EPYC.
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

gpt2-124m: the smallest GPT-2 on text of your own, with nanoGPT's batches.
  Paper: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners";
    schedule and batch of half a million tokens: nanoGPT, config/train_gpt2.py.
  Expect: nanoGPT's 2.85 on OpenWebText, with GPT-2's own pieces. Not run here.
  Cost: 4 days on 8 A100 (nanoGPT).
  Run: python -m experiments.language_model train gpt2-124m --data.text FILE ...

text: text of your own in any language, by bytes, with the sizes of shakespeare-char.
  Run: python -m experiments.language_model train text --data.text FILE ...

smoke: four steps on the library's own source code, to see that it runs. Seconds.
"""

import dataclasses

from attnjax.models.gpt import GPT2_BLOCK, LLAMA_BLOCK, GPTConfig
from attnjax.models.lstm_lm import LSTMLMConfig
from attnjax.models.memn2n_lm import MemN2NLMConfig
from experiments.datasets.text.datasets import (
    PennTreebank,
    SourceCode,
    TextFiles,
    TinyShakespeare,
    WikiText2,
)
from experiments.datasets.text.enwik8 import Enwik8
from experiments.datasets.tokenizers.text import TextTokenizerConfig
from experiments.language_model.config import Config
from experiments.training.optimizer import OptimizerConfig

CHAR_BLOCK = dataclasses.replace(
    GPT2_BLOCK,
    d_model=128,
    num_heads=4,
    d_ff=512,
    activation="gelu",  # the exact one, as in nanoGPT
    use_bias=False,
)

SHAKESPEARE_CHAR = Config(
    data=TinyShakespeare(),
    tokenizer=TextTokenizerConfig(kind="characters"),
    model=GPTConfig(num_layers=4, max_length=64, block=CHAR_BLOCK),
    optimizer=OptimizerConfig(
        learning_rate=3e-3,  # nanoGPT: 1e-3, which ends at 1.90 here
        warmup_steps=100,
        lr_schedule="cosine",
        end_lr_ratio=0.1,
        beta2=0.99,  # few tokens a step: average over more steps
        max_grad_norm=1.0,
        weight_decay=0.1,
    ),
    steps=2_000,
    batch_size=12,
    eval_every=250,
    save_every=250,
)

SHAKESPEARE_CHAR_GPU = dataclasses.replace(
    SHAKESPEARE_CHAR,
    model=GPTConfig(
        num_layers=6,
        max_length=256,
        block=dataclasses.replace(
            CHAR_BLOCK,
            d_model=384,
            num_heads=6,
            d_ff=1536,
            dropout=0.2,
        ),
    ),
    optimizer=dataclasses.replace(SHAKESPEARE_CHAR.optimizer, learning_rate=1e-3),
    steps=5_000,
    batch_size=64,
)

WIKITEXT2 = Config(
    data=WikiText2(),
    # All 33,277 words of the text, and the four special ids.
    tokenizer=TextTokenizerConfig(kind="words", vocab_size=33_281),
    model=GPTConfig(
        num_layers=6,
        max_length=128,
        block=dataclasses.replace(
            LLAMA_BLOCK,
            d_model=256,
            num_heads=8,
            num_kv_heads=4,
            d_ff=704,  # 8/3 of the width, and a multiple of 64
            dropout=0.3,  # two million words are few
        ),
    ),
    optimizer=OptimizerConfig(
        learning_rate=1e-3,
        warmup_steps=200,
        lr_schedule="cosine",
        end_lr_ratio=0.1,
        beta2=0.95,
        weight_decay=0.1,
    ),
    steps=5_000,  # 10 epochs
    batch_size=32,
    eval_every=500,
    save_every=250,
)

PTB_MEMN2N = Config(
    data=PennTreebank(),
    # All 9,999 words of the text, and the four special ids.
    tokenizer=TextTokenizerConfig(kind="words", vocab_size=10_003),
    model=MemN2NLMConfig(),
    context_tokens=99,  # with the last word, a memory of 100
    optimizer=OptimizerConfig(
        learning_rate=1e-3,
        warmup_steps=100,
        lr_schedule="cosine",
        beta2=0.999,
        max_grad_norm=1.0,
    ),
    steps=4_600,  # 10 epochs
    batch_size=20,  # of 101 predicted words each
    eval_every=460,
    save_every=460,
)

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
    tokenizer=WIKITEXT2.tokenizer,
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

GPT2_124M = Config(
    data=TextFiles(),
    tokenizer=TextTokenizerConfig(kind="bpe", vocab_size=50_257),
    model=GPTConfig(dtype="bfloat16"),
    optimizer=OptimizerConfig(
        learning_rate=6e-4,
        warmup_steps=2_000,
        lr_schedule="cosine",
        end_lr_ratio=0.1,
        beta2=0.95,
        weight_decay=0.1,
    ),
    steps=600_000,
    batch_size=480,  # of 1,024 tokens: 491,520 a step
    accumulation_steps=40,
    eval_every=1_000,
    save_every=1_000,
)

TEXT = dataclasses.replace(
    SHAKESPEARE_CHAR,
    data=TextFiles(),
    tokenizer=TextTokenizerConfig(kind="bytes"),
)

SMOKE = dataclasses.replace(
    SHAKESPEARE_CHAR,
    data=SourceCode(),
    model=GPTConfig(
        num_layers=2,
        max_length=32,
        block=dataclasses.replace(CHAR_BLOCK, d_model=32, num_heads=2, d_ff=64),
    ),
    optimizer=dataclasses.replace(SHAKESPEARE_CHAR.optimizer, warmup_steps=2),
    steps=4,
    batch_size=16,
    eval_every=4,
    save_every=2,
    log_every=2,
)

CONFIGS: dict[str, tuple[str, Config]] = {
    "shakespeare-char": (
        "Tiny Shakespeare by characters, nanoGPT's set-up for a CPU.",
        SHAKESPEARE_CHAR,
    ),
    "shakespeare-char-gpu": (
        "Tiny Shakespeare by characters, nanoGPT's set-up for a GPU.",
        SHAKESPEARE_CHAR_GPU,
    ),
    "wikitext2": (
        "Wikipedia by words (--data.raw-dir): RoPE, SwiGLU.",
        WIKITEXT2,
    ),
    "ptb-memn2n": (
        "Penn Treebank by words (--data.raw-dir): a memory network of six hops.",
        PTB_MEMN2N,
    ),
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
    "gpt2-124m": (
        "The smallest GPT-2 on text of your own (--data.text).",
        GPT2_124M,
    ),
    "text": ("Text of your own (--data.text), by bytes.", TEXT),
    "smoke": (
        "Four steps on the library's own source code, to see that it runs.",
        SMOKE,
    ),
}
