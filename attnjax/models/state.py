"""A model as a function of plain parameters: nested dicts of arrays.

Training, checkpoints and decoding see dicts; only the code that calls the model
sees the module. Paths are stable and readable: `decoder/layers/0/u_gates`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx
from jax import Array

Model = TypeVar("Model", bound=nnx.Module)
Params = dict[str, Any]

_HOLDER = "tree"  # the attribute of `_parts.Params`, which says nothing


def split(model: Model) -> tuple[Callable[[Params], Model], Params]:
    """Takes a model apart into its parameters and what puts it together again.

    Args:
      model: any module whose only state is `nnx.Param`.

    Returns:
      `rebuild(params) -> model`, pure and free of arrays, so that it can be closed
      over in a jitted function; and the parameters as nested dicts of arrays.

    Raises:
      ValueError: if the model has state that is not a parameter.

    Example:
      >>> rebuild, params = split(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      >>> sorted(params), rebuild(params)(jnp.ones(2)).shape
      (['bias', 'kernel'], (3,))
    """
    graphdef, state, *others = nnx.split(model, nnx.Param, ...)
    (rest,) = others
    if jax.tree.leaves(rest):
        raise ValueError(
            f"model: expected parameters only, got other state at "
            f"{[path for path, _ in nnx.to_flat_state(rest)]} (pass it as an argument)"
        )
    paths = [path for path, _ in nnx.to_flat_state(state)]

    def rebuild(params: Params) -> Model:
        flat = {path: nnx.Param(_find(params, _readable(path))) for path in paths}
        return nnx.merge(graphdef, nnx.from_flat_state(flat))

    params: Params = {}
    for path, variable in nnx.to_flat_state(state):
        *parents, name = _readable(path)
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = variable[...]
    return rebuild, params


def _readable(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(part) for part in path if part != _HOLDER)


def _find(params: Params, path: tuple[str, ...]) -> Array:
    node: Any = params
    for part in path:
        node = node[part]
    return node
