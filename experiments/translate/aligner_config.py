"""A config whose run aligns: guided alignment of a small Transformer.

text-aligner: parallel text of your own, with links such as those of a statistical
  aligner, which it generalises to other text. A layer of the decoder is trained on
  them, at the step after a word is fed.
  Paper: Chen et al. 2016 (arXiv:1607.01628), Garg et al. 2019 (arXiv:1909.02074) for
    guided alignment; Zenkel et al. 2019 (arXiv:1901.11359), Chen et al. 2020
    (arXiv:2004.14837) for aligning a word that has been fed.
  Expect: an AER of 0.10 to 0.105 on the Hansards, two directions symmetrised.
  Cost: 15 minutes of one CPU core a direction.
  Run: python -m experiments.translate train text-aligner --data.train a.en a.fr
    --data.validation dev.en dev.fr --guided-alignment.links a.talp
    and then: python -m experiments.translate align RUN
    --source test.en --target test.fr
"""

from attnjax import BlockConfig
from attnjax.models.transformer import TransformerConfig
from experiments.datasets.pairs.tokenized import TokenizerConfig
from experiments.datasets.parallel_text.parallel_text_builder import ParallelText
from experiments.training.optimizer import OptimizerConfig
from experiments.translate.config import Config, GuidedAlignmentConfig

TEXT_ALIGNER = Config(
    data=ParallelText(train=()),
    tokenizer=TokenizerConfig(joint=True, source_vocab_size=4_000),
    model=TransformerConfig(
        encoder_layers=2,
        decoder_layers=2,
        block=BlockConfig(
            d_model=128, num_heads=4, d_ff=256, pre_norm=True, dropout=0.1
        ),
        max_length=256,
    ),
    optimizer=OptimizerConfig(
        learning_rate=2e-3, warmup_steps=200, lr_schedule="cosine"
    ),
    # Before a word is fed the decoder can only guess which one it will be.
    guided_alignment=GuidedAlignmentConfig(
        alignment_weight=1.0, row="after", unaligned="eos"
    ),
    steps=6_000,
    ema_decay=0.99,
    batch_tokens=1_024,
    eval_every=2_000,
    save_every=250,
)
