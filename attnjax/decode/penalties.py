"""The score that ranks hypotheses: log-probability, length and coverage penalties."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnjax.decode.arguments import check_scalar, check_shape
from attnjax.decode.setup import DecodeSetup


class Penalties(NamedTuple):
    """Length and coverage penalty of one search; source: Wu et al. 2016, eq. 14."""

    alpha: Float[Array, ""]
    beta: Float[Array, ""] | None  # None: coverage is not tracked
    source_mask: Bool[Array, "B S"] | None

    def scores(
        self,
        log_probs: Float[Array, "B K"],
        length: Int[Array, ""],
        coverage: Float[Array, "B K S"] | None,
    ) -> Float[Array, "B K"]:
        """Returns the scores of hypotheses that end at this length.

        `coverage` is the sum of a hypothesis' attention weights over its tokens.
        """
        scores = log_probs / self.length_penalty(length)
        if self.beta is None or self.source_mask is None or coverage is None:
            return scores
        # Sparsemax gives exact zeros: the floor keeps log finite, so that hypotheses
        # with uncovered positions can still be compared.
        capped = jnp.clip(coverage, jnp.finfo(coverage.dtype).tiny, 1)
        capped = jnp.where(self.source_mask[:, None], capped, 1)
        penalty = jnp.sum(jnp.log(capped), axis=-1).astype(scores.dtype)
        return scores + self.beta * penalty

    def length_penalty(self, length: Int[Array, "..."]) -> Float[Array, "..."]:
        """Returns the divisor of log-probabilities of hypotheses of this length."""
        return ((5 + length.astype(self.alpha.dtype)) / 6) ** self.alpha


def check_penalties(
    setup: DecodeSetup,
    length_penalty: float | Float[Array, ""],
    coverage_penalty: float | Float[Array, ""],
    source_mask: Any,
) -> Penalties:
    """Checks the arguments of `beam_search` that rank hypotheses."""
    for name, value, hint in (
        ("length_penalty", length_penalty, "0 ranks by log-probability"),
        ("coverage_penalty", coverage_penalty, "0 ignores coverage"),
    ):
        check_scalar(name, value, lambda x: x >= 0, "at least 0", hint)
    alpha = jnp.asarray(length_penalty, setup.dtype)
    if isinstance(coverage_penalty, int | float) and coverage_penalty == 0:
        return Penalties(alpha, None, None)
    if source_mask is None:
        raise ValueError(
            "source_mask: expected a mask of shape [B, S] with a coverage_penalty, "
            "got None (padding need not be covered)"
        )
    mask = jnp.asarray(source_mask)
    if mask.dtype != jnp.bool_:
        raise TypeError(
            "source_mask: expected a boolean mask (True = a source position), got "
            f"{mask.dtype} (compare it, as in source != pad)"
        )
    check_shape("source_mask", mask.shape, setup.weights.shape, "as the step's weights")
    return Penalties(alpha, jnp.asarray(coverage_penalty, setup.dtype), mask)
