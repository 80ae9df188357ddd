"""A cell over time, with the gradient of each weight in one product.

The backward pass of `lax.scan` accumulates a weight's gradient step by step: T small
products, and T passes over the accumulator. Here the backward scan computes the
cotangents of the products' outputs only, and after it each weight's gradient is one
product over all steps and rows. A step saves the outputs of its products with weights,
and rematerialises all else. Values and gradients are the same, in less time and memory.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.dtypes import float0

from attnjax.cells._products import SAVED, Cell, Offsets, Product, Program, Tree, trace
from attnjax.core import precision
from attnjax.core._checks import broadcasting

_ONLY_PRODUCTS = jax.checkpoint_policies.save_only_these_names(SAVED)


@broadcasting
def scan(
    cell: Cell,
    params: Tree,
    carry: Tree,
    xs: Tree,
    *,
    memory: Tree = None,
    mask: Array | None = None,
    reverse: bool = False,
) -> tuple[Tree, Tree]:
    """Runs a cell over the steps of a batch of sequences.

    Values and derivatives, of either mode and any order, are those of `lax.scan` over
    `jax.vmap` of the cell. Where `mask` is False the carry stays and the outputs are
    0, so padding on either side never moves the state.

    The cell may use its weights in any way. A product with a weight, or with what is
    computed from weights only (a cast, a transpose, an activation), has its weight's
    gradient computed after the loop; other uses are differentiated inside it.

    Called eagerly, a cell that can be imported by its name, or a `functools.partial`
    of one, compiles once per shape, as under `jax.jit`; another, such as a closure,
    compiles at each call.

    Args:
      cell: `(params, carry, x) -> (carry, y)` for one row, or
        `(params, carry, x, memory=...)` where a memory is given.
      params: the cell's weights, shared by all rows and steps.
      carry: the state before the first step, leaves [B, ...].
      xs: inputs, leaves [B, T, ...].
      memory: what the cell may read at every step, leaves [B, ...].
      mask: True = a real step, shape [B, T]; None means all are.
      reverse: go from the last step to the first.

    Returns:
      The final carry, leaves [B, ...], and the outputs, leaves [B, T, ...], in
      the order of `xs`.

    Raises:
      ValueError: if the leaves of `xs` and `mask` disagree on [B, T].
      TypeError: if `mask` is not boolean, or if the cell does not return a carry like
        the one it takes, and an output.

    Example:
      >>> cell = lambda params, carry, x: (carry + params * x, carry)
      >>> carry, ys = scan(cell, 2.0, jnp.zeros(1), jnp.ones((1, 3)))
      >>> carry.tolist(), ys.tolist()
      ([6.0], [[0.0, 2.0, 4.0]])
    """
    _check_steps(xs, mask)
    # Inside a program, a call would keep XLA from sharing residuals across it.
    constant = None if _is_staged() else _constant(cell)
    if constant is None:
        return _run(cell, reverse, params, carry, xs, memory, mask)
    return _compiled(constant, reverse, params, carry, xs, memory, mask)


def bidirectional(
    cell: Cell,
    params: tuple[Tree, Tree],
    carry: tuple[Tree, Tree],
    xs: tuple[Tree, Tree],
    *,
    mask: Array | None = None,
) -> tuple[tuple[Tree, Tree], tuple[Tree, Tree]]:
    """Runs one cell forward and one backward over the same steps.

    Source: Schuster & Paliwal 1997; Bahdanau, Cho & Bengio 2015
    (arXiv:1409.0473), section 3.2.

    Args:
      cell: as for `scan`.
      params: weights of the forward and of the backward cell.
      carry: their states before their first steps, leaves [B, ...].
      xs: their inputs, leaves [B, T, ...], both in reading order.
      mask: True = a real step, shape [B, T].

    Returns:
      Final carries and outputs, each a pair (forward, backward); the backward
      output at a step has seen that step and all after it.

    Raises:
      ValueError: as `scan`.
    """
    forward = scan(cell, params[0], carry[0], xs[0], mask=mask)
    backward = scan(cell, params[1], carry[1], xs[1], mask=mask, reverse=True)
    return (forward[0], backward[0]), (forward[1], backward[1])


def _check_steps(xs: Tree, mask: Array | None) -> None:
    shapes = {jnp.shape(leaf)[:2] for leaf in jax.tree.leaves(xs)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(
            f"xs: expected leaves [B, T, ...] of one B and T, got {sorted(shapes)} "
            "(rows first, then steps)"
        )
    (wanted,) = shapes
    if mask is not None and mask.dtype != bool:
        raise TypeError(
            f"mask: expected a boolean mask (True = a real step), got {mask.dtype} "
            "(compare it, as in mask > 0)"
        )
    if mask is not None and mask.shape != wanted:
        raise ValueError(
            f"mask: expected shape {list(wanted)}, got {list(mask.shape)} "
            "(one True or False per row and step)"
        )


class _Partial(NamedTuple):
    """A `functools.partial` that compares by its parts."""

    function: Cell
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        every = dict(self.keywords) | keywords
        return self.function(*self.arguments, *arguments, **every)


def _constant(cell: Any) -> Any:
    """The cell as a key of compiled programs; None where it may change between calls.

    A function that can be imported by its name computes the same at each call; a
    closure or a method may read arrays that have changed.
    """
    if isinstance(cell, partial):
        whole = _Partial(cell.func, cell.args, tuple(sorted(cell.keywords.items())))
        try:
            hash(whole)
        except TypeError:
            return None
        return None if _constant(cell.func) is None else whole
    module = sys.modules.get(getattr(cell, "__module__", None) or "")
    named = getattr(module, getattr(cell, "__qualname__", ""), None)
    return cell if named is cell else None


def _run(
    cell: Cell,
    reverse: bool,
    params: Tree,
    carry: Tree,
    xs: Tree,
    memory: Tree,
    mask: Array | None,
) -> tuple[Tree, Tree]:
    """The scan of checked arguments."""
    swap = partial(jax.tree.map, lambda x: jnp.swapaxes(x, 0, 1))  # [B, T] <-> [T, B]
    arguments = precision.same_devices((params, carry, swap((xs, mask)), memory))
    params, carry, steps, memory = arguments
    first = partial(jax.tree.map, _first)  # [B, ...] -> [...]
    program = trace(cell, params, first(carry), first(first(steps[0])), first(memory))
    weights, others = program.invariants(params)
    run = _differentiable(program, reverse)
    carry, ys = run(weights, (others, carry, steps, memory))
    return carry, swap(ys)


def _first(x: Array) -> Array:
    """Returns one row; zeros where there is none, since only its type is used."""
    return x[0] if len(x) else jnp.zeros(x.shape[1:], x.dtype)


_compiled = partial(jax.jit, static_argnums=(0, 1))(_run)


def _is_staged() -> bool:
    """Whether a jaxpr is being made, as under `jax.jit`: even constants are traced."""
    return isinstance(jnp.zeros(1), jax.core.Tracer)


def _differentiable(
    program: Program, reverse: bool
) -> Callable[..., tuple[Tree, Tree]]:
    """The loop as a function of its weights and of all else that it reads.

    The JVP rule turns a weight's tangent into those of the products' outputs before the
    tangent loop; so transposition computes the weight's gradient after the loop.
    """

    @jax.custom_jvp
    def run(weights: list[Array], rest: Tree) -> tuple[Tree, Tree]:
        return _loop(program, reverse, weights, rest, {})[0]

    @partial(run.defjvp, symbolic_zeros=True)
    def rule(primals: Tree, tangents: Tree) -> tuple[Tree, Tree]:
        (weights, rest), (d_weights, d_rest) = primals, tangents
        leaves = jax.tree.leaves(rest)
        d_leaves = jax.tree.leaves(d_rest)
        moved = {i: d for i, d in enumerate(d_leaves) if _is_tangent(d)}
        watched = {
            i: product
            for i, product in program.products.items()
            if _is_tangent(d_weights[product.weight])
        }

        def loop(some: dict[int, Array], offsets: Offsets) -> Any:
            mixed = [some.get(i, leaf) for i, leaf in enumerate(leaves)]
            mixed = jax.tree.unflatten(jax.tree.structure(rest), mixed)
            return _loop(program, reverse, weights, mixed, offsets)

        offsets = _zero_offsets(watched, rest)
        some = {i: leaves[i] for i in moved}
        result, tangent, inputs = jax.linearize(loop, some, offsets, has_aux=True)
        d_offsets = {
            i: product.tangent(inputs[i], d_weights[product.weight])
            for i, product in watched.items()
        }
        return result, tangent(moved, d_offsets)

    return run


def _loop(
    program: Program,
    reverse: bool,
    weights: list[Array],
    rest: Tree,
    offsets: Offsets,
) -> tuple[tuple[Tree, Tree], Offsets]:
    """The loop, time first; also the x of each product `x @ w` that has an offset."""
    others, carry, steps, memory = rest

    def step(carry: Tree, inputs: Tree) -> tuple[Tree, Any]:
        x, keep, offset = inputs
        rows = jax.vmap(program.step, in_axes=(None, None, 0, 0, 0, 0))
        rows = jax.checkpoint(rows, prevent_cse=False, policy=_ONLY_PRODUCTS)
        new, y, multiplied = rows(weights, others, carry, x, memory, offset)
        if keep is not None:
            new = jax.tree.map(partial(_where, keep), new, carry)
            y = jax.tree.map(lambda a: _where(keep, a, jnp.zeros_like(a)), y)
        return new, (y, multiplied)

    carry, (ys, multiplied) = lax.scan(step, carry, (*steps, offsets), reverse=reverse)
    return (carry, ys), multiplied


def _zero_offsets(products: dict[int, Product], rest: Tree) -> Offsets:
    """Zeros [T, B, ...] for the outputs of products."""
    _, carry, (xs, _), _ = rest
    T, B = jax.tree.leaves(xs)[0].shape[:2]
    outputs = {i: product.output for i, product in products.items()}
    zeros = {i: jnp.zeros((T, B, *y.shape), y.dtype) for i, y in outputs.items()}
    return precision.same_devices((zeros, carry))[0]


def _is_tangent(tangent: Any) -> bool:
    """Whether a tangent is more than a zero that needs no array."""
    return not isinstance(tangent, SymbolicZero) and tangent.dtype != float0


def _where(keep: Array, new: Array, old: Array) -> Array:
    # [B] -> [B, 1, ...], as many axes as a row of the carry has
    keep = keep.reshape(keep.shape + (1,) * (new.ndim - keep.ndim))
    return jnp.where(keep, new, old)
