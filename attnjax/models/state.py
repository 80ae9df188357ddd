"""A model as a function of plain parameters: nested dicts of arrays.

Training, checkpoints and decoding see dicts; only the code that calls the model
sees the module. Paths are stable and readable: `decoder/gru/u_gates`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax
from flax import nnx

Model = TypeVar("Model", bound=nnx.Module)
Params = dict[str, Any]
Path = tuple[str, ...]

_HOLDER = "tree"  # attribute of `_parts.Params`: left out of paths, it names nothing


def split(model: Model) -> tuple[Callable[[Params], Model], Params]:
    """Splits a model into its parameters and a function that rebuilds it.

    Args:
      model: any module whose only state is `nnx.Param`.

    Returns:
      `rebuild(params) -> model`, pure and free of arrays, so that a jitted function
      can close over it, and picklable; and the parameters as nested dicts of arrays.
      The variables of a rebuilt model keep their type and metadata, such as
      `out_sharding`.

    Raises:
      ValueError: if the model has state that is not a parameter, or if two
        parameters would have the same path.

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
    flat = nnx.to_flat_state(state)
    paths = _readable_paths([path for path, _ in flat])
    # Variables without their arrays: `replace` copies their type and metadata.
    variables = {path: variable.replace(None) for path, variable in flat}
    rebuild: _Rebuild[Model] = _Rebuild(graphdef, variables, paths)
    params: Params = {}
    for path, variable in flat:
        *parents, name = paths[path]
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = variable.get_value()
    return rebuild, params


@dataclasses.dataclass(frozen=True, eq=False)
class _Rebuild(Generic[Model]):
    """Makes a model from its parameters; a class, because closures do not pickle."""

    graphdef: Any
    variables: dict[tuple[Any, ...], Any]
    paths: dict[tuple[Any, ...], Path]

    def __call__(self, params: Params) -> Model:
        filled = {
            path: variable.replace(_find(params, self.paths[path]))
            for path, variable in self.variables.items()
        }
        return nnx.merge(self.graphdef, nnx.from_flat_state(filled))


def split_abstract(
    make_model: Callable[[], Model],
) -> tuple[Callable[[Params], Model], Params]:
    """Splits a model that is traced and never initialised, to load parameters into.

    Nothing is drawn and no memory is allocated: `make_model` runs under
    `nnx.eval_shape`.

    Args:
      make_model: makes the model, such as `lambda: GPT(config, rngs=nnx.Rngs(0))`.

    Returns:
      `rebuild(params) -> model`, as in `split`; and the parameters as nested dicts of
      `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: as `split`.

    Example:
      >>> rebuild, shapes = split_abstract(lambda: nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      >>> shapes["kernel"].shape
      (2, 3)
      >>> loaded = {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}
      >>> rebuild(loaded)(jnp.ones(2)).tolist()
      [2.0, 2.0, 2.0]
    """
    return split(nnx.eval_shape(make_model))


def _readable_paths(paths: list[tuple[Any, ...]]) -> dict[tuple[Any, ...], Path]:
    """Turns flax's paths into those of nested dicts, each of which is unique."""
    readable: dict[tuple[Any, ...], Path] = {}
    taken: dict[Path, tuple[Any, ...]] = {}
    for path in paths:
        readable[path] = tuple(str(part) for part in path if part != _HOLDER)
        if readable[path] in taken or not readable[path]:
            _refuse(path, taken.get(readable[path]), readable[path])
        taken[readable[path]] = path
    for path, name in readable.items():
        for end in range(1, len(name)):  # a dict cannot also be an array
            if name[:end] in taken:
                _refuse(path, taken[name[:end]], name[:end])
    return readable


def _refuse(path: tuple[Any, ...], other: tuple[Any, ...] | None, name: Path) -> None:
    got = f"{path}" if other is None else f"{other} and {path}"
    raise ValueError(
        f"model: expected parameters with distinct paths, got {got}, both at "
        f"{'/'.join(name)!r} (rename an attribute; the name {_HOLDER!r} is left out)"
    )


def _find(params: Params, path: Path) -> Any:
    node: Any = params
    for part in path:
        node = node[part]
    return node
