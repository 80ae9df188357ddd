"""Questions about a tree of parameters: how many there are, which of them decay."""

from typing import Any

import jax
from jaxtyping import PyTree

from attnjax.train import Params

STACKED = "blocks"  # below this key every leaf has a leading axis of layers


def count_parameters(params: Params) -> int:
    """Counts the trainable numbers of a tree of arrays or of their shapes."""
    return sum(x.size for x in jax.tree.leaves(params))


def weight_decay_mask(params: Params) -> PyTree:
    """Marks what weight decay applies to: matrices and embedding tables.

    Biases and the scales of norms do not decay. The layers of a Transformer stack are
    stored as one array each, so a bias is a matrix there; its axis of layers does not
    count.

    Args:
      params: tree of arrays.

    Returns:
      A tree of bools of the same structure, as `optax.adamw(mask=...)` takes it.
    """

    def is_matrix(path: tuple[Any, ...], x: jax.Array) -> bool:
        stacked = any(getattr(key, "key", None) == STACKED for key in path)
        return x.ndim - stacked >= 2

    return jax.tree_util.tree_map_with_path(is_matrix, params)
