"""Functions under a mesh with explicit axes, whose shardings are part of array types.

There every gather and every product over a sharded axis must be told the sharding of
its result. Functions that only keep rows apart need not spell that out: inside, the
axes are made automatic, and the results are sharded as the rows of the arguments are.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

Tree = Any


def under_explicit_mesh() -> bool:
    """Whether shardings are part of array types here."""
    return bool(jax.sharding.get_abstract_mesh().explicit_axes)


def keep_rows_apart(
    function: Callable[..., Tree],
    arguments: Tree,
    batch_axes: Callable[[Tree], Tree] | None,
) -> Tree:
    """Calls `function(*arguments)`, under any mesh.

    Args:
      function: treats the rows of a batch apart, or sums over them.
      arguments: trees; arrays in them may be sharded along their first axis.
      batch_axes: makes of the result's shapes a tree of the batch axis of each leaf.
        None means sums over rows, which are the same on all devices.

    Returns:
      The result.
    """
    if not under_explicit_mesh():
        return function(*arguments)
    leaves, structure = jax.tree.flatten(arguments)
    places = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array | np.ndarray)]

    def of_arrays(*arrays: Any) -> Tree:
        given = dict(zip(places, arrays, strict=True))
        mixed = [given.get(i, leaf) for i, leaf in enumerate(leaves)]
        return function(*jax.tree.unflatten(structure, mixed))

    arrays = [leaves[i] for i in places]
    rows = _row_axis(arrays)
    shapes = jax.eval_shape(of_arrays, *map(_without_sharding, arrays))
    axes = None if batch_axes is None else batch_axes(shapes)

    def spec(leaf: Any, axis: int | None = None) -> PartitionSpec:
        if axis is None:
            return PartitionSpec()
        return PartitionSpec(*[None] * axis, rows)

    out = jax.tree.map(spec, shapes, *(() if axes is None else (axes,)))
    return jax.sharding.auto_axes(of_arrays, out_sharding=out)(*arrays)


def first_axis(shapes: Tree) -> Tree:
    """The batch axes of trees whose leaves all are [B, ...]."""
    return jax.tree.map(lambda _: 0, shapes)


def _row_axis(arrays: list[Any]) -> Any:
    """The mesh axes over which the rows of the arguments are divided."""
    for x in arrays:
        spec = getattr(getattr(jax.typeof(x), "sharding", None), "spec", ())
        if spec and spec[0] is not None:
            return spec[0]
    return None


def _without_sharding(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
