"""The score that hypotheses are ranked by: log-probability, length, coverage."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attnjax.decode.arguments import check_number, check_shape
from attnjax.decode.constraints import Plan


class Ranking(NamedTuple):
    """The penalties of one search; source: Wu et al. 2016, eq. 14."""

    alpha: Float[Array, ""]
    beta: Float[Array, ""] | None  # None: coverage is not counted
    source_mask: Bool[Array, "B S"] | None

    def scores(
        self,
        log_probs: Float[Array, "B K"],
        length: Int[Array, ""],
        coverage: Float[Array, "B K S"] | None,
    ) -> Float[Array, "B K"]:
        """Returns the scores of hypotheses that end now.

        `coverage` is the sum of each one's weights over its tokens.
        """
        scores = log_probs / self.length_penalty(length)
        if self.beta is None or self.source_mask is None or coverage is None:
            return scores
        # The floor keeps what no token read (a true zero of sparsemax) comparable.
        share = jnp.clip(coverage, jnp.finfo(coverage.dtype).tiny, 1)
        share = jnp.where(self.source_mask[:, None], share, 1)
        penalty = jnp.sum(jnp.log(share), axis=-1).astype(scores.dtype)
        return scores + self.beta * penalty

    def length_penalty(self, length: Int[Array, "..."]) -> Float[Array, "..."]:
        """What log-probabilities of hypotheses of this length are divided by."""
        return ((5 + length.astype(self.alpha.dtype)) / 6) ** self.alpha


def ranking(
    plan: Plan,
    length_penalty: float | Float[Array, ""],
    coverage_penalty: float | Float[Array, ""],
    source_mask: Any,
) -> Ranking:
    """Checks the arguments that rank hypotheses."""
    check_number(
        "length_penalty",
        length_penalty,
        lambda x: x >= 0,
        "at least 0",
        "0 ranks by log-probability",
    )
    check_number(
        "coverage_penalty",
        coverage_penalty,
        lambda x: x >= 0,
        "at least 0",
        "0 does not count coverage",
    )
    alpha = jnp.asarray(length_penalty, plan.dtype)
    if isinstance(coverage_penalty, int | float) and coverage_penalty == 0:
        return Ranking(alpha, None, None)
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
    check_shape("source_mask", mask.shape, plan.weights.shape, "as the step's weights")
    return Ranking(alpha, jnp.asarray(coverage_penalty, plan.dtype), mask)
