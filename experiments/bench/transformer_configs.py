"""The Transformer configs that are timed, by name.

Their vocabulary sizes are set by `set_vocab_size`.
"""

import dataclasses
from typing import Any

from attnjax import BlockConfig
from attnjax.models.transformer import TransformerConfig
from experiments.translate.config import Config
from experiments.translate.configs import MULTI30K_RNNSEARCH
from experiments.translate.model import MODELS

VOCAB_SIZE = 8_000  # the vocabulary with which the batch shapes were counted
SMOKE_VOCAB_SIZE = 23
# Pre-norm has as many FLOPs as post-norm.
BLOCK = BlockConfig(d_model=256, num_heads=8, d_ff=1024, pre_norm=True, dropout=0.1)
TRANSFORMER = TransformerConfig(encoder_layers=4, decoder_layers=4, block=BLOCK)
# The sizes of Wu et al. 2021 (arXiv:2105.14462) for Multi30k. A smaller model spends a
# larger share of its time outside of matrix products.
SMALL = dataclasses.replace(
    TRANSFORMER, block=dataclasses.replace(BLOCK, d_model=128, num_heads=4, d_ff=256)
)
TINY_BLOCK = dataclasses.replace(BLOCK, d_model=12, num_heads=2, d_ff=14)
TINY = dataclasses.replace(
    TRANSFORMER, encoder_layers=2, decoder_layers=3, block=TINY_BLOCK
)
SIZES = {"transformer": TRANSFORMER, "small": SMALL}
# Optimiser and label smoothing are those of RNNSearch, so that only the models differ.
TRAINING: Config = dataclasses.replace(
    MULTI30K_RNNSEARCH,
    model=TRANSFORMER,
)


def set_vocab_size(
    config: TransformerConfig, *, smoke: bool, **changes: Any
) -> TransformerConfig:
    """The config, or `TINY` in a smoke test, with its vocabulary sizes and changes."""
    V = SMOKE_VOCAB_SIZE if smoke else VOCAB_SIZE
    return dataclasses.replace(
        TINY if smoke else config,
        source_vocab_size=V,
        target_vocab_size=V,
        **changes,
    )


def build(config: Any) -> Any:
    """Initialises a model of any config and splits it into `(rebuild, params)`."""
    from flax import nnx

    from attnjax.models.state import split

    return split(MODELS[type(config)](config, rngs=nnx.Rngs(params=0)))
