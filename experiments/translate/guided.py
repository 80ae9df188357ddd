"""Guided alignment: attention is also trained on links that are given.

Chen, Matusov, Khadivi & Peter 2016 (arXiv:1607.01628); Garg et al. 2019
(arXiv:1909.02074) train a layer of a Transformer so.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from attnjax.align import format_pharaoh
from attnjax.core.guidance import alignment_cross_entropy
from attnjax.core.losses import linear_cross_entropy
from attnjax.models.marginal_cursor import MarginalCursorConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.train import Loss, Params
from experiments.datasets.data_dir import fingerprint_content
from experiments.datasets.pairs.batching import previous_tokens
from experiments.datasets.pairs.guided import GuidedBatch, TokenLinks
from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.tokenizers.sentences import PAD
from experiments.datasets.tokenizers.sides import Tokenizers
from experiments.errors import UserError
from experiments.translate.aligning import read_links
from experiments.translate.config import Config, check_aligns
from experiments.translate.model import (
    TranslationModel,
)


class Guidance:
    """The links of a run's training pairs, and the loss that they make."""

    def __init__(
        self,
        config: Config,
        pairs: Sequence[Sequence[str]],
        examples: TokenizedPairs,
        tokenizers: Tokenizers,
    ) -> None:
        """Reads the links.

        Raises:
          UserError: if the file does not fit the pairs, or the model has no attention
            that could be trained on it.
        """
        settings = self.settings = config.guided_alignment
        if settings.links is None:
            raise ValueError("config: expected guided_alignment.links, got None")
        check_aligns(config.model, settings.layer, settings.heads)
        model = config.model
        if isinstance(model, MarginalCursorConfig):
            raise UserError(
                "guided_alignment: expected RNNSearch or a Transformer, got the "
                "marginalised cursor (its likelihood sums over alignments)"
            )
        if isinstance(model, RNNSearchConfig) and model.aligner == "diagonal":
            raise UserError(
                "guided_alignment: expected an aligner with parameters, got diagonal "
                "(choose another --model.aligner)"
            )
        sides = [(pair[0], pair[1]) for pair in pairs]
        name = "guided_alignment.links"
        alignments = read_links(name, settings.links, sides)
        lines = (f"{format_pharaoh(one)}\n".encode() for one in alignments)
        self.fingerprint = fingerprint_content(lines)
        try:
            self.links = TokenLinks(
                alignments,
                examples,
                tokenizers,
                unaligned=settings.unaligned,
                row=settings.row,
            )
        except UserError as error:
            raise UserError(f"{settings.links}: {error}") from error

    def loss(
        self,
        model: TranslationModel,
        params: Params,
        batch: GuidedBatch,
        rng: Array | None,
        *,
        label_smoothing: float = 0.0,
    ) -> Loss:
        """Sums the tokens' loss and the weighted loss of the links, in nats.

        Both are sums over target tokens; a token without links has a loss of 0.
        """
        source, target, links = map(jnp.asarray, batch)
        rebuilt, settings = model.rebuild(params), self.settings
        features, weights = rebuilt.features_and_weights(
            source,
            source != PAD,
            previous_tokens(target),
            rng,
            layer=settings.layer,
            heads=settings.heads,
        )
        matrix, bias = rebuilt.output
        real = target != PAD
        nats = linear_cross_entropy(
            *(features, matrix, bias, target, real.astype(jnp.float32)),
            smoothing=label_smoothing,
        )
        guided = alignment_cross_entropy(weights, links).sum()
        return Loss(nats + settings.alignment_weight * guided, real.sum())
