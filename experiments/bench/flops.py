"""How much arithmetic a function's products are, read from what JAX traces of it."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax


def product_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations of all matrix products in one call.

    An addition and a multiplication are two. Only shapes are looked at; products in
    the body of a scan count once for each of its steps.

    Args:
      function: what is called; it must have no loop of unknown length.
      *arguments: arrays, or `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: if a product stands in a `while_loop`, whose length is not known.
    """
    return _flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def _flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _of_product(equation)
            continue
        inner = [_flops(one) for one in _programs(equation)]
        if equation.primitive.name == "while" and any(inner):
            raise ValueError(
                "function: expected loops of known length, got a while_loop with a "
                "product in it (use lax.scan)"
            )
        if equation.primitive.name == "cond":
            total += max(inner)
        else:
            total += equation.params.get("length", 1) * sum(inner)
    return total


def _of_product(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, result = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    return 2 * math.prod(result) * math.prod(left[axis] for axis in contracted)


def _programs(equation: Any) -> Iterator[Any]:
    """The programs that an equation runs."""
    for value in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
    ):
        inner = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns"):
            yield inner
