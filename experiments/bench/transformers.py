"""The Transformers that are timed, by name; vocabularies are set where they are."""

import dataclasses
from typing import Any

from attnjax import BlockConfig
from attnjax.models.transformer import TransformerConfig
from experiments.translate.config import Config
from experiments.translate.configs import MULTI30K_RNNSEARCH
from experiments.translate.system import MODELS

VOCAB = 8_000  # pieces that the batch shapes were counted with
# Norms come before sublayers: as much arithmetic as after them.
BLOCK = BlockConfig(d_model=256, num_heads=8, d_ff=1024, pre_norm=True, dropout=0.1)
TRANSFORMER = TransformerConfig(encoder_layers=4, decoder_layers=4, block=BLOCK)
# Wu et al. 2021 (arXiv:2105.14462) for Multi30k; what is no product weighs more.
SMALL = dataclasses.replace(
    TRANSFORMER, block=dataclasses.replace(BLOCK, d_model=128, num_heads=4, d_ff=256)
)
TINY_BLOCK = dataclasses.replace(BLOCK, d_model=12, num_heads=2, d_ff=14)
TINY = dataclasses.replace(
    TRANSFORMER, encoder_layers=2, decoder_layers=3, block=TINY_BLOCK
)
SIZES = {"transformer": TRANSFORMER, "small": SMALL}
# What else a training step is made of is as for RNNSearch.
TRAINING: Config = dataclasses.replace(
    MULTI30K_RNNSEARCH,
    model=TRANSFORMER,
)


def sized_transformer(
    config: TransformerConfig, *, tiny: bool, **changes: Any
) -> TransformerConfig:
    """The config, or one in its place that is tiny, with its vocabularies' size."""
    V = 23 if tiny else VOCAB
    return dataclasses.replace(
        TINY if tiny else config, source_vocab_size=V, target_vocab_size=V, **changes
    )


def build(config: Any) -> Any:
    """`(rebuild, params)` of a fresh model of any config."""
    from flax import nnx

    from attnjax.models.state import split

    return split(MODELS[type(config)](config, rngs=nnx.Rngs(params=0)))


def build_abstract(config: Any) -> Any:
    """`(rebuild, shapes)` of a model of any config, without drawing parameters."""
    from flax import nnx

    from attnjax.models.state import split_abstract

    return split_abstract(lambda: MODELS[type(config)](config, rngs=nnx.Rngs(params=0)))
