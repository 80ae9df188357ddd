"""Finds, in the jaxpr of a cell, the products of its state with its weights.

`lax.scan` adds up the gradient of a weight step by step. Of a product `y = x @ w`,
in which only x changes from step to step, the gradient of w needs no loop: it is one
product of all x with the cotangents of all y. So a cell is traced to a jaxpr, its calls
are inlined, and it is split in two: what makes the weights of such products (casts,
transposes, activations of parameters) runs once before the loop, the rest in it. What
is not recognised stays in the loop, and JAX differentiates it as ever.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from attnjax.core import precision

Tree = Any
Cell = Callable[..., tuple[Tree, Tree]]
Offsets = dict[int, Array]  # by the position of a product's equation
# By position of the equation: the equation, its dot_general, which operand w is.
Found = dict[int, tuple[JaxprEqn, JaxprEqn, int]]
SAVED = "product"  # the name of the residuals that a step saves

# Calls that say how to compile or what to save, not what the derivative is.
_CALLS = {"jit", "pjit", "remat2", "checkpoint", "closed_call", "eval_jaxpr"}
_CUSTOM = {"custom_jvp_call", "custom_vjp_call"}


class Product(NamedTuple):
    """An equation `y = x @ w` or `y = w @ x` of a step, in which only x changes."""

    equation: JaxprEqn
    dot: JaxprEqn  # its dot_general: itself, or inside `precision.matmul`
    side: int  # which operand is w
    weight: int  # which of the program's weights w is

    def __call__(self, jaxpr: Jaxpr, x: Array, w: Array) -> Array:
        """The product of one row, by its own equation."""
        (y,) = _apply(jaxpr, self.equation, *self._ordered(x, w))
        return y

    def tangent(self, x: Array, dw: Array) -> Array:
        """The tangent of y for that of w, of all steps and rows at once.

        Its transpose is the gradient of w: one product.

        Args:
          x: what w was multiplied with, shape [T, B, ...].
          dw: tangent of w.

        Returns:
          The tangents of y, shape [T, B, ...].
        """
        y = self.equation.outvars[0].aval
        if self.side == 1 and _is_matmul(self.dot) and not self.dot.params["precision"]:
            rows = x.reshape(-1, x.shape[-1])  # [T, B, ..., K] -> [T*B*..., K]
            dy = precision.weight_tangent(rows, dw)
        else:
            rows = x.reshape(-1, *x.shape[2:])  # [T, B, ...] -> [T*B, ...]
            dy = jax.vmap(self._row_tangent, in_axes=(0, None))(rows, dw)
        # [T*B*..., N] or [T*B, ...] -> [T, B, ...]
        return dy.astype(y.dtype).reshape(*x.shape[:2], *y.shape)

    def _row_tangent(self, x: Array, dw: Array) -> Array:
        operands = [precision.backward_operand(a) for a in self._ordered(x, dw)]
        parameters = self.dot.params
        return lax.dot_general(
            *operands,
            parameters["dimension_numbers"],
            precision=parameters["precision"],
            preferred_element_type=precision.promoted(
                *operands, self.dot.outvars[0].aval.dtype
            ),
        )

    def _ordered(self, x: Array, w: Array) -> tuple[Array, Array]:
        return (x, w) if self.side == 1 else (w, x)


class Program(NamedTuple):
    """One step of one row, split into what runs before the loop and what in it."""

    before: Jaxpr  # constants, params -> weights of products, other inputs of the loop
    loop: Jaxpr  # those others, carry, x, memory -> carry, y
    products: dict[int, Product]  # by position in the equations of `loop`
    weights: int  # how many
    constants: list[Array]  # what the cell closes over
    outputs: Any  # the structure of carry and y

    def invariants(self, params: Tree) -> tuple[list[Array], list[Array]]:
        """The weights of the products, and all else that no step changes."""
        inputs = *self.constants, *jax.tree.leaves(params)
        values = jax.core.eval_jaxpr(self.before, (), *inputs)
        return values[: self.weights], values[self.weights :]

    def step(
        self,
        weights: list[Array],
        others: list[Array],
        carry: Tree,
        x: Tree,
        memory: Tree,
        offsets: Offsets,
    ) -> tuple[Tree, Tree, Offsets]:
        """Runs one step of one row.

        Args:
          weights: of the products, from `invariants`.
          others: the other arrays from `invariants`.
          carry: the state.
          x: the input.
          memory: the memory, or None.
          offsets: arrays whose tangents are added to those of products.

        Returns:
          The new state, the output, and what the weights of the products that have
          an offset were multiplied with.
        """
        leaves = jax.tree.leaves((carry, x, memory))
        values = dict(zip(self.loop.invars, [*others, *leaves], strict=True))
        multiplied = {}
        for i, equation in enumerate(self.loop.eqns):
            if i not in self.products:
                operands = [_read(values, v) for v in equation.invars]
                results = _apply(self.loop, equation, *operands)
            else:
                product = self.products[i]
                x = _read(values, equation.invars[1 - product.side])
                y = product(self.loop, x, weights[product.weight])
                if i in offsets:
                    multiplied[i] = x
                    y = _with_tangent(y, offsets[i])
                results = [checkpoint_name(y, SAVED)]
            values.update(zip(equation.outvars, results, strict=True))
        outputs = [_read(values, v) for v in self.loop.outvars]
        new, y = jax.tree.unflatten(self.outputs, outputs)
        return new, y, multiplied


def trace(cell: Cell, params: Tree, carry: Tree, x: Tree, memory: Tree) -> Program:
    """Traces one step of one row, and splits it.

    Args:
      cell: as for `attnjax.cells.scan.scan`.
      params: the weights.
      carry: the state of one row.
      x: the input of one row at one step.
      memory: the memory of one row, or None.

    Returns:
      The program of a step.
    """
    inlined = jax.make_jaxpr(partial(_inlined, cell), return_shape=True)
    traced, shapes = inlined(params, carry, x, memory)
    jaxpr, inputs = traced.jaxpr, [*traced.jaxpr.constvars, *traced.jaxpr.invars]
    fixed = len(traced.consts) + len(jax.tree.leaves(params))
    found = _find(jaxpr, inputs[:fixed])
    inside, reads = _needed(jaxpr, jaxpr.outvars, found, effects=True)
    kept = {n: found[i] for n, i in enumerate(inside) if i in found}
    weights = list(
        dict.fromkeys(equation.invars[side] for equation, _, side in kept.values())
    )
    others = [v for v in inputs[:fixed] if v in reads]
    outside, _ = _needed(jaxpr, weights, {}, effects=False)
    return Program(
        before=_part(jaxpr, outside, inputs[:fixed], [*weights, *others]),
        loop=_part(jaxpr, inside, [*others, *inputs[fixed:]], jaxpr.outvars),
        products={
            n: Product(equation, dot, side, weights.index(equation.invars[side]))
            for n, (equation, dot, side) in kept.items()
        },
        weights=len(weights),
        constants=traced.consts,
        outputs=jax.tree.structure(shapes),
    )


def _inlined(cell: Cell, params: Tree, carry: Tree, x: Tree, memory: Tree) -> Tree:
    """The cell with the bodies of its calls in place of the calls."""

    def call(params: Tree, carry: Tree, x: Tree, memory: Tree) -> tuple[Tree, Tree]:
        if memory is None:
            return cell(params, carry, x)
        return cell(params, carry, x, memory=memory)

    def run(jaxpr: Jaxpr, constants: Any, *inputs: Any) -> list[Any]:
        variables = [*jaxpr.constvars, *jaxpr.invars]
        values = dict(zip(variables, [*constants, *inputs], strict=True))
        for equation in jaxpr.eqns:
            operands = [_read(values, v) for v in equation.invars]
            if equation.primitive.name in _CALLS:
                results = run(*_body(equation), *operands)
            else:
                results = _apply(jaxpr, equation, *operands)
            values.update(zip(equation.outvars, results, strict=True))
        return [_read(values, v) for v in jaxpr.outvars]

    arguments = params, carry, x, memory
    traced, shapes = jax.make_jaxpr(call, return_shape=True)(*arguments)
    outputs = run(traced.jaxpr, traced.consts, *jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(shapes), outputs)


def _find(jaxpr: Jaxpr, inputs: list[Var]) -> Found:
    """The products by position: equation, its dot_general, and the side of w.

    To take the gradient of w after the loop costs the memory of all x, so w must be
    larger than x is.
    """
    invariant, found = set(inputs), {}
    for i, equation in enumerate(jaxpr.eqns):
        operands = enumerate(equation.invars)
        changing = [n for n, v in operands if _is_variable(v) and v not in invariant]
        if not changing and not equation.effects:
            invariant.update(equation.outvars)
            continue
        dot = _dot_of(equation)
        if dot is None or len(changing) != 1:
            continue
        x, w = (equation.invars[n] for n in (changing[0], 1 - changing[0]))
        inexact = jnp.issubdtype(w.aval.dtype, jnp.inexact)
        if _is_variable(w) and inexact and w.aval.size > x.aval.size:
            found[i] = equation, dot, 1 - changing[0]
    return found


def _dot_of(equation: JaxprEqn) -> JaxprEqn | None:
    """The dot_general that an equation is: plain, or made by `precision.matmul`."""
    if equation.primitive.name == "dot_general":
        return equation
    if equation.primitive.name not in _CUSTOM:
        return None
    body, _ = _body(equation)
    names = {e.params["name"] for e in body.eqns if e.primitive.name == "name"}
    dot = body.eqns[0]
    # Under `vmap` over the weights it is no product of matrices any more.
    whole = (
        precision.MATMUL in names
        and dot.primitive.name == "dot_general"
        and list(dot.invars) == list(body.invars)
        and _is_matmul(dot)
        and dot.outvars[0].aval.shape == equation.outvars[0].aval.shape
    )
    return dot if whole else None


def _is_matmul(dot: JaxprEqn) -> bool:
    """Whether it contracts the last axis of x with the first of a matrix, no more."""
    (contracted, batched) = dot.params["dimension_numbers"]
    x, w = (v.aval for v in dot.invars)
    plain = [tuple(axes) for axes in (*contracted, *batched)]
    return w.ndim == 2 and plain == [(x.ndim - 1,), (0,), (), ()]


def _needed(
    jaxpr: Jaxpr, outputs: Any, found: Found, *, effects: bool
) -> tuple[list[int], set[Var]]:
    """The equations that `outputs` need, and what they read; no weights of `found`."""
    reads, kept = set(filter(_is_variable, outputs)), []
    for i in reversed(range(len(jaxpr.eqns))):
        equation = jaxpr.eqns[i]
        effectful = effects and equation.effects
        if effectful or not reads.isdisjoint(equation.outvars):
            kept.append(i)
            weight = found[i][2] if i in found else None
            operands = [v for n, v in enumerate(equation.invars) if n != weight]
            reads.update(filter(_is_variable, operands))
    return kept[::-1], reads


def _part(jaxpr: Jaxpr, kept: list[int], inputs: Any, outputs: Any) -> Jaxpr:
    equations = [jaxpr.eqns[i] for i in kept]
    return jaxpr.replace(constvars=(), invars=inputs, outvars=outputs, eqns=equations)


def _apply(jaxpr: Jaxpr, equation: JaxprEqn, *operands: Any) -> list[Any]:
    """Evaluates one equation of a jaxpr."""
    pairs = zip(equation.invars, operands, strict=True)
    inputs = {v: value for v, value in pairs if _is_variable(v)}
    one = jaxpr.replace(
        constvars=(), invars=list(inputs), outvars=equation.outvars, eqns=[equation]
    )
    return jax.core.eval_jaxpr(one, (), *inputs.values())


def _body(equation: JaxprEqn) -> tuple[Jaxpr, Any]:
    """The jaxpr that a call calls, and its constants."""
    parameters = equation.params
    body = parameters["jaxpr"] if "jaxpr" in parameters else parameters["call_jaxpr"]
    return getattr(body, "jaxpr", body), getattr(body, "consts", ())


def _read(values: dict[Var, Any], variable: Any) -> Any:
    return values[variable] if _is_variable(variable) else variable.val


def _is_variable(atom: Any) -> bool:
    return not isinstance(atom, Literal)


@jax.custom_jvp
def _with_tangent(y: Array, offset: Array) -> Array:
    """`y`, with the tangent of `offset` added to its own."""
    return y


@_with_tangent.defjvp
def _with_tangent_rule(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return primals[0], tangents[0] + tangents[1]
