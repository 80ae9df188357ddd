"""Named configs of language-model runs; measured figures are in RESULTS.md.

Those of deep LSTMs are in `lstm_configs`.

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
from attnjax.models.memn2n_lm import MemN2NLMConfig
from experiments.datasets.text.datasets import (
    PennTreebank,
    SourceCode,
    TextFiles,
    TinyShakespeare,
    WikiText2,
)
from experiments.datasets.tokenizers.text import TextTokenizerConfig
from experiments.language_model.config import Config
from experiments.language_model.lstm_configs import LSTM_CONFIGS
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
    **LSTM_CONFIGS,
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
