"""Trees of parameters: their number, their shapes, and which of them decay."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from attnjax.parallel import replicate
from attnjax.train import Params

Model = TypeVar("Model")

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


def abstract_params(
    build: Callable[[], tuple[Model, Params]], mesh: Mesh | None = None
) -> tuple[Model, Params]:
    """Builds a model without drawing its parameters.

    Args:
      build: returns a model, as pure functions of parameters, and parameters.
      mesh: the devices on which a checkpoint will be restored; None: not decided.

    Returns:
      The model, and the shapes and dtypes of its parameters, with replicated shardings
      where a mesh is given.
    """
    models: list[Model] = []

    def init() -> Params:
        # eval_shape returns nothing but arrays, so the model leaves by a list.
        model, params = build()
        models.append(model)
        return params

    shapes = jax.eval_shape(init)
    return models[0], shapes if mesh is None else replicate(shapes, mesh)
