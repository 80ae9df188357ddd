"""Methods of models that keep the rows of a batch apart, under any mesh."""

import functools
from collections.abc import Callable
from typing import Any

from flax import nnx

from attnjax.core._checks import broadcasting
from attnjax.core._sharding import (
    first_axis,
    keep_rows_apart,
    under_explicit_mesh,
)

Tree = Any


def batched(
    method: Callable[..., Tree] | None = None,
    *,
    batch_axes: Callable[[Tree], Tree] = first_axis,
) -> Any:
    """Makes a method of a module work under a mesh with explicit axes too.

    Args:
      method: of an `nnx.Module` whose state it only reads.
      batch_axes: makes of the result's shapes a tree of the batch axis of each leaf.
    """
    if method is None:
        return functools.partial(batched, batch_axes=batch_axes)

    allowed = broadcasting(method)

    @functools.wraps(method)
    def call(self: nnx.Module, *arguments: Any, **options: Any) -> Tree:
        if not under_explicit_mesh():
            return allowed(self, *arguments, **options)
        graphdef, state = nnx.split(self)

        def run(state: Any, arguments: Any, options: Any) -> Tree:
            return allowed(nnx.merge(graphdef, state), *arguments, **options)

        return keep_rows_apart(run, (state, arguments, options), batch_axes)

    return call
