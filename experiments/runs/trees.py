"""Trees of any kind as plain nested dicts, whose leaves have names."""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import PyTree


def name_leaves(tree: PyTree) -> dict[str, Any]:
    """Names each array by its path, `params/encoder/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(_keys(path)): leaf for path, leaf in leaves}


def _keys(path: Any) -> tuple[str, ...]:
    keys = tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
    return keys or ("value",)  # a tree that is a single array


def nest(tree: PyTree) -> dict[str, Any]:
    """Turns any tree into plain nested dicts with the same leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return unflatten({_keys(path): leaf for path, leaf in leaves})


def unflatten(by_path: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Turns leaves by the path of their keys into nested dicts."""
    nested: dict[str, Any] = {}
    for path, leaf in by_path.items():
        inner = nested
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = leaf
    return nested


def fill(like: PyTree, nested: PyTree) -> PyTree:
    """Puts the leaves of nested dicts back into a tree of any kind."""

    def leaf(path: Any, _: Any) -> Any:
        inner = nested
        for key in _keys(path):
            inner = inner[key]
        return inner

    return jax.tree_util.tree_map_with_path(leaf, like)
