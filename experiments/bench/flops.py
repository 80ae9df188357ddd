"""Counts the FLOPs of a function's matrix products from its jaxpr."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax


def matmul_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Counts the floating-point operations of all matrix products in one call.

    A multiply-add counts as two operations. The function is only traced. A product in
    the body of a scan counts once per iteration, and of the branches of a conditional
    the most expensive one counts.

    Args:
      function: the function to trace.
      *arguments: arrays, or `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: if a `while_loop` contains a matrix product, because its number of
        iterations is unknown.
    """
    return _flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def _flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _dot_general_flops(equation)
            continue
        inner = [_flops(one) for one in _inner_jaxprs(equation)]
        if equation.primitive.name == "while" and any(inner):
            raise ValueError(
                "function: expected loops of known length, got a while_loop with a "
                "matrix product in it (use lax.scan)"
            )
        if equation.primitive.name == "cond":
            total += max(inner)
        else:
            # Of the other primitives only scan has a length.
            total += equation.params.get("length", 1) * sum(inner)
    return total


def _dot_general_flops(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, result = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    return 2 * math.prod(result) * math.prod(left[axis] for axis in contracted)


def _inner_jaxprs(equation: Any) -> Iterator[Any]:
    """The jaxprs among an equation's parameters: bodies, branches, called functions."""
    for value in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
    ):
        # A ClosedJaxpr holds the jaxpr; remat holds a plain one.
        inner = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns"):
            yield inner
