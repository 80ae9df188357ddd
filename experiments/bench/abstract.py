"""Initialises a model without memory, for what needs only the shapes of parameters."""

from collections.abc import Callable
from typing import Any

import jax


def abstract_init(init: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Traces `init() -> (static, params)`; the parameters are `jax.ShapeDtypeStruct`.

    Args:
      init: returns a pair of anything and a tree of arrays.
    """
    static = []

    def params_only() -> Any:
        # eval_shape returns nothing but arrays, so the other part leaves by a list.
        other, params = init()
        static.append(other)
        return params

    params = jax.eval_shape(params_only)
    return static[0], params
