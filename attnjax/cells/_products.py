"""Splits a cell into its products with step-invariant weights, and the rest.

The backward pass of `lax.scan` accumulates the gradient of a weight step by step. But
in a product `y = x @ w` of which only x changes by step, the gradient of w needs no
loop: it is one product of all x with the cotangents of all y. To find such products,
however the cell makes them, this module traces the cell to a jaxpr and inlines its
calls. The equations that compute a product's weight (casts, transposes, activations of
parameters) then run once, before the loop. Whatever is no such product stays in the
loop as it is, and JAX differentiates it there.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Jaxpr, JaxprEqn, Var

from attnjax.cells import _jaxprs
from attnjax.core import precision

Tree = Any
Cell = Callable[..., tuple[Tree, Tree]]
Offsets = dict[int, Array]  # by position of a product among the equations
SAVED = "product"  # the checkpoint name of a step's residuals
_CUSTOM = {"custom_jvp_call", "custom_vjp_call"}


class Product(NamedTuple):
    """An equation `y = x @ w` or `y = w @ x`, of which only x changes by step."""

    equation: JaxprEqn
    dot: JaxprEqn  # its dot_general: the equation, or the body of `precision.matmul`
    side: int  # which operand is w: 0 left, 1 right
    weight: int = 0  # which of the program's weights is w

    @property
    def output(self) -> Any:
        """The shape and dtype of y."""
        return _jaxprs.aval(self.equation.outvars[0])

    def operands(self, x: Array, w: Array) -> tuple[Array, Array]:
        """x and w in the order of the equation."""
        return (x, w) if self.side == 1 else (w, x)

    def tangent(self, x: Array, dw: Array) -> Array:
        """The tangent of y for that of w, of all steps and rows at once.

        Its transpose is the gradient of w, in one product.

        Args:
          x: what w is multiplied with, shape [T, B, ...].
          dw: the tangent of w.

        Returns:
          The tangent of y, shape [T, B, ...].
        """
        y = self.output
        if self.side == 1 and _is_matmul(self.dot):
            rows = precision.as_rows(x)  # [T, B, ..., K] -> [T*B*..., K]
            dy = precision.weight_tangent(rows, dw)
        else:
            T, B = x.shape[:2]
            rows = x.reshape(T * B, *x.shape[2:])  # [T, B, ...] -> [T*B, ...]
            dy = jax.vmap(self._one_tangent, in_axes=(0, None))(rows, dw)
        # [T*B*..., N] or [T*B, ...] -> [T, B, ...]
        return dy.astype(y.dtype).reshape(*x.shape[:2], *y.shape)

    def _one_tangent(self, x: Array, dw: Array) -> Array:
        """The tangent of one row, in the dtype in which it accumulates."""
        return precision.backward_dot(
            *self.operands(x, dw),
            self.dot.params["dimension_numbers"],
            precision=self.dot.params["precision"],
        )


class Program(NamedTuple):
    """One step of one row, in two parts: before the loop, and in it."""

    before: Jaxpr  # constants, params -> weights of products, other inputs of the loop
    loop: Jaxpr  # those other inputs, carry, x, memory -> carry, y
    products: dict[int, Product]  # by position in the equations of `loop`
    weights: int  # how many
    constants: list[Array]  # what the cell closes over
    outputs: Any  # the structure of carry and y

    def invariants(self, params: Tree) -> tuple[list[Array], list[Array]]:
        """The weights of the products, and the other step-invariant inputs."""
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
          others: the other inputs, from `invariants`.
          carry: the state.
          x: the input.
          memory: the memory, or None.
          offsets: arrays whose tangents are added to those of some products.

        Returns:
          The new state, the output, and the x of each product with an offset.
        """
        leaves = jax.tree.leaves((carry, x, memory))
        values = dict(zip(self.loop.invars, [*others, *leaves], strict=True))
        multiplied = {}
        for i, equation in enumerate(self.loop.eqns):
            if i in self.products:
                product = self.products[i]
                operand = _jaxprs.read(values, equation.invars[1 - product.side])
                operands = product.operands(operand, weights[product.weight])
                (y,) = _jaxprs.apply(self.loop, equation, *operands)
                if i in offsets:
                    multiplied[i] = operand
                    y = _add_tangent(y, offsets[i])
                results = [checkpoint_name(y, SAVED)]
            else:
                operands = tuple(_jaxprs.read(values, v) for v in equation.invars)
                results = _jaxprs.apply(self.loop, equation, *operands)
            values.update(zip(equation.outvars, results, strict=True))
        outputs = [_jaxprs.read(values, v) for v in self.loop.outvars]
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

    Raises:
      TypeError: if the cell does not return a carry like its own, and an output.
    """
    called = jax.make_jaxpr(_jaxprs.inlined(partial(_call, cell)), return_shape=True)
    traced, outputs = called(params, carry, x, memory)
    _check_outputs(carry, outputs)
    jaxpr, inputs = traced.jaxpr, [*traced.jaxpr.constvars, *traced.jaxpr.invars]
    invariant = inputs[: len(traced.consts) + len(jax.tree.leaves(params))]
    found = _find(jaxpr, invariant)
    cut = {i: product.side for i, product in found.items()}
    effects = [i for i, equation in enumerate(jaxpr.eqns) if equation.effects]
    inside, reads = _jaxprs.needed(jaxpr, jaxpr.outvars, cut=cut, also=effects)
    kept = {n: found[i] for n, i in enumerate(inside) if i in found}
    weights = list(dict.fromkeys(p.equation.invars[p.side] for p in kept.values()))
    others = [v for v in invariant if v in reads]
    outside, _ = _jaxprs.needed(jaxpr, weights, cut={})

    def part(positions: list[int], inputs: Any, outputs: Any) -> Jaxpr:
        return _jaxprs.part(jaxpr, [jaxpr.eqns[i] for i in positions], inputs, outputs)

    return Program(
        before=part(outside, invariant, [*weights, *others]),
        loop=part(inside, [*others, *inputs[len(invariant) :]], jaxpr.outvars),
        products={
            n: p._replace(weight=weights.index(p.equation.invars[p.side]))
            for n, p in kept.items()
        },
        weights=len(weights),
        constants=traced.consts,
        outputs=jax.tree.structure(outputs),
    )


def _call(cell: Cell, params: Tree, carry: Tree, x: Tree, memory: Tree) -> Any:
    if memory is None:
        return cell(params, carry, x)
    return cell(params, carry, x, memory=memory)


def _check_outputs(carry: Tree, outputs: Any) -> None:
    if not isinstance(outputs, tuple) or len(outputs) != 2:
        raise TypeError(
            "cell: expected to return a pair (carry, y), got "
            f"{jax.tree.structure(outputs)} (return the new state, then the output)"
        )
    old, new = (
        jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", tree)
        for tree in (carry, outputs[0])
    )
    if old != new:
        raise TypeError(
            f"cell: expected to return a carry like the one it takes, {old}, got {new} "
            "(cast or reshape it)"
        )


def _find(jaxpr: Jaxpr, inputs: list[Var]) -> dict[int, Product]:
    """The products with weights that depend on `inputs` only, by position.

    To compute the gradient of w after the loop takes the memory of x at all steps, so
    x must be smaller than w.
    """
    invariant, found = set(inputs), {}
    for i, equation in enumerate(jaxpr.eqns):
        varying = [
            n
            for n, v in enumerate(equation.invars)
            if _jaxprs.is_variable(v) and v not in invariant
        ]
        dot = _dot_of(equation)
        if not varying and not equation.effects:
            invariant.update(equation.outvars)
        elif len(varying) == 1 and dot is not None:
            side = 1 - varying[0]
            x, w = (_jaxprs.aval(equation.invars[n]) for n in (1 - side, side))
            inexact = all(jnp.issubdtype(a.dtype, jnp.inexact) for a in (x, w))
            if (
                inexact
                and x.size < w.size
                and _jaxprs.is_variable(equation.invars[side])
            ):
                found[i] = Product(equation, dot, side)
    return found


def _dot_of(equation: JaxprEqn) -> JaxprEqn | None:
    """The dot_general that an equation is: plain, or made by `precision.matmul`."""
    if equation.primitive.name == "dot_general":
        return equation
    if equation.primitive.name not in _CUSTOM:
        return None
    body, _ = _jaxprs.body(equation)
    names = {e.params["name"] for e in body.eqns if e.primitive.name == "name"}
    if precision.MATMUL not in names:
        return None
    dot, y = body.eqns[0], _jaxprs.aval(equation.outvars[0])
    # A `vmap` in the cell may have batched it, so that it is no `matmul` any more.
    whole = (
        dot.primitive.name == "dot_general"
        and list(dot.invars) == list(body.invars)
        and _is_matmul(dot)
        and _jaxprs.aval(dot.outvars[0]).shape == y.shape
    )
    return dot if whole else None


def _is_matmul(dot: JaxprEqn) -> bool:
    """Whether it is `precision.matmul` with a matrix, in the default precision."""
    contracted, batched = dot.params["dimension_numbers"]
    x, w = map(_jaxprs.aval, dot.invars)
    axes = [tuple(axes) for axes in (*contracted, *batched)]
    exact = dot.params["precision"] is not None
    return w.ndim == 2 and not exact and axes == [(x.ndim - 1,), (0,), (), ()]


@jax.custom_jvp
def _add_tangent(y: Array, offset: Array) -> Array:
    """`y`, with the tangent of `offset` added to its own."""
    return y


@_add_tangent.defjvp
def _add_tangent_rule(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return primals[0], tangents[0] + tangents[1]
