"""Pytrees of any kind as nested dicts of arrays, which is what Orbax stores."""

from typing import Any

import jax
from flax import traverse_util
from jaxtyping import PyTree


def flatten_with_names(tree: PyTree) -> dict[str, Any]:
    """Maps the name of each leaf, such as `params/encoder/kernel`, to the leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(_keys(path)): leaf for path, leaf in leaves}


def to_nested_dict(tree: PyTree) -> dict[str, Any]:
    """Converts a pytree to nested dicts with the same leaves and names."""
    return from_names(flatten_with_names(tree))


def from_names(leaves: dict[str, Any]) -> dict[str, Any]:
    """Builds nested dicts from leaves by name, as `flatten_with_names` returns them."""
    return traverse_util.unflatten_dict(leaves, sep="/")


def restore_structure(template: PyTree, nested: dict[str, Any]) -> PyTree:
    """Puts the leaves of `to_nested_dict(tree)` into the structure of a template."""
    leaves = flatten_with_names(nested)
    return jax.tree_util.tree_map_with_path(
        lambda path, _: leaves["/".join(_keys(path))], template
    )


def _keys(path: Any) -> tuple[str, ...]:
    keys = tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
    return keys or ("value",)  # the tree is a single array
