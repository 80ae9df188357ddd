"""Tools on jaxprs: inline their calls, evaluate, select equations.

JAX makes a jaxpr public as a value to read and to evaluate, so a part of one is made by
`replace`, and evaluated by `jax.core.eval_jaxpr`.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

# Calls that tell how to compile or what to save, and leave the derivative alone.
_CALLS = {"jit", "pjit", "remat2", "checkpoint", "closed_call", "eval_jaxpr"}


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the bodies of its calls in place of the calls.

    Args:
      function: takes and returns trees of arrays.

    Returns:
      The same function of the same arguments, without the calls of `jax.jit` and
      `jax.checkpoint` that are not inside a loop or a custom derivative.
    """

    def run(jaxpr: Jaxpr, constants: Any, *inputs: Any) -> list[Any]:
        variables = [*jaxpr.constvars, *jaxpr.invars]
        values = dict(zip(variables, [*constants, *inputs], strict=True))
        for equation in jaxpr.eqns:
            operands = [read(values, v) for v in equation.invars]
            if equation.primitive.name in _CALLS:
                results = run(*body(equation), *operands)
            else:
                results = apply(jaxpr, equation, *operands)
            values.update(zip(equation.outvars, results, strict=True))
        return [read(values, v) for v in jaxpr.outvars]

    def traced(*arguments: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        outputs = run(closed.jaxpr, closed.consts, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return traced


def apply(jaxpr: Jaxpr, equation: JaxprEqn, *operands: Any) -> list[Any]:
    """Evaluates one equation of a jaxpr."""
    pairs = zip(equation.invars, operands, strict=True)
    inputs = {v: value for v, value in pairs if is_variable(v)}
    one = part(jaxpr, [equation], list(inputs), equation.outvars)
    return jax.core.eval_jaxpr(one, (), *inputs.values())


def needed(
    jaxpr: Jaxpr,
    outputs: Iterable[Any],
    *,
    cut: Mapping[int, int],
    also: Container[int] = (),
) -> tuple[list[int], set[Var]]:
    """Selects the equations that some outputs depend on.

    Args:
      jaxpr: the jaxpr.
      outputs: variables or literals in it.
      cut: by position of an equation, an operand that is not followed.
      also: positions of equations that are needed in any case.

    Returns:
      The positions of the equations, in order, and all variables that they read.
    """
    reads, kept = set(filter(is_variable, outputs)), []
    for i in reversed(range(len(jaxpr.eqns))):
        equation = jaxpr.eqns[i]
        if i in also or not reads.isdisjoint(equation.outvars):
            kept.append(i)
            operands = [v for n, v in enumerate(equation.invars) if n != cut.get(i)]
            reads.update(filter(is_variable, operands))
    return kept[::-1], reads


def part(jaxpr: Jaxpr, equations: Any, inputs: Any, outputs: Any) -> Jaxpr:
    """Some equations of a jaxpr as one of their own, without constants."""
    return jaxpr.replace(constvars=(), invars=inputs, outvars=outputs, eqns=equations)


def body(equation: JaxprEqn) -> tuple[Jaxpr, Any]:
    """The jaxpr that a call evaluates, and its constants."""
    parameters = equation.params
    inner = parameters["jaxpr"] if "jaxpr" in parameters else parameters["call_jaxpr"]
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())


def read(values: Mapping[Var, Any], atom: Any) -> Any:
    """The value of a variable or literal."""
    return values[atom] if is_variable(atom) else atom.val


def is_variable(atom: Any) -> bool:
    """Whether an operand is a variable, not a literal."""
    return not isinstance(atom, Literal)


def aval(atom: Any) -> Any:
    """The shape and dtype of a variable or literal."""
    return atom.aval
