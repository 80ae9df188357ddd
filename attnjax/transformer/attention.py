"""How a block computes attention: a function that can be replaced.

A block projects queries, keys and values, and hands them to an `Attention`. The
default is `core.attend.attend_heads`, which takes every score. Another one may call a
fused kernel and may use the structure of the mask instead of a dense array.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from jaxtyping import Array, Float

from attnjax.core.attend import attend_heads
from attnjax.core.masks import AttentionMask

Tree = Any


class AttentionFn(Protocol):
    """Computes the contexts of all heads.

    The axes are those of `jax.nn.dot_product_attention`: query [B, T, H, D], keys and
    values [B, S, N, D] with N key heads, H a multiple of N. Query heads h*G .. h*G +
    G - 1 share key head h, where G = H / N.
    """

    def __call__(
        self,
        query: Float[Array, "B T H D"],
        keys: Float[Array, "B S N D"],
        values: Float[Array, "B S N E"],
        *,
        mask: Any,
        bias: Float[Array, "B H T S"] | None,
        score: Callable[..., Array],
        score_params: Tree,
    ) -> Float[Array, "B T H E"]:
        """Computes contexts.

        Args:
          query: queries of all heads.
          keys: keys of all key heads.
          values: values of all key heads.
          mask: what `Attention.prepare_mask` returned.
          bias: added to the scores; None adds nothing.
          score: maps one query and its keys to scores; a function that knows the
            scaled dot product only should refuse another.
          score_params: parameters of each head's score, leaves [H, ...], or None.
        """


def materialised_attention(
    query: Float[Array, "B T H D"],
    keys: Float[Array, "B S N D"],
    values: Float[Array, "B S N E"],
    *,
    mask: Any,
    bias: Float[Array, "B H T S"] | None = None,
    score: Callable[..., Array],
    score_params: Tree = None,
) -> Float[Array, "B T H E"]:
    """`attend_heads`, which materialises scores [B, H, T, S]; takes every score."""
    return attend_heads(
        query,
        keys,
        values,
        mask=mask,
        bias=bias,
        score=score,
        score_params=score_params,
    ).context


@dataclasses.dataclass(frozen=True)
class Attention:
    """An attention function, and the form of mask that it takes.

    Both must be hashable and compare equal between calls (module-level functions do),
    so that a stack compiles once per shape.
    """

    fn: AttentionFn = materialised_attention
    """Computes the contexts; runs in every layer."""
    prepare_mask: Callable[[AttentionMask], Any] = AttentionMask.to_dense
    """Makes the mask that `fn` takes; runs once per stack, outside the loop over
    layers. The identity passes the structure on, and no dense mask is built."""


MATERIALISED = Attention()


def mean_head_weights(
    query: Float[Array, "B T H D"],
    keys: Float[Array, "B S N D"],
    *,
    mask: AttentionMask,
    bias: Float[Array, "B H T S"] | None,
    score: Callable[..., Array],
    score_params: Tree,
    heads: tuple[int, ...] = (),
) -> Float[Array, "B T S"]:
    """Computes attention weights and averages them over heads, by default over all.

    Always computed by `attend_heads`, apart from the contexts. So every attention
    function offers weights, and asking for them cannot change the output.
    """
    found = attend_heads(
        # The contexts are not used; the compiler removes the product with the values.
        query,
        keys,
        keys,
        mask=mask.to_dense(),
        bias=bias,
        score=score,
        score_params=score_params,
    )
    weights = found.weights[:, list(heads)] if heads else found.weights
    return weights.mean(axis=1)  # [B, H, T, S] -> [B, T, S]
