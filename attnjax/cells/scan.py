"""A cell over time, with the gradient of each weight matrix in one matmul.

Reverse-mode differentiation of `lax.scan` adds up a weight's gradient step by
step: T small products, and T passes over the accumulator. Here the backward
scan gives the gradients of the products' outputs only, and each weight's
gradient is one matmul over all steps and rows afterwards. Of a step only products
are kept for it; what lies between them is made again. Same numbers, less time and
memory.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.dtypes import float0

from attnjax.cells._products import SAVED, Cell, Offsets, Product, Program, Tree, trace
from attnjax.core import precision

_ONLY_PRODUCTS = jax.checkpoint_policies.save_only_these_names(SAVED)


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

    The numbers and gradients are those of `lax.scan` over `jax.vmap` of the cell.
    Where `mask` is False the carry stays and the outputs are 0, so padding on
    either side never moves the state. Reverse-mode differentiation only.

    Args:
      cell: `(params, carry, x) -> (carry, y)` for one row, or
        `(params, carry, x, memory=...)` where a memory is given. It must take
        all traced arrays as arguments.
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
      TypeError: if `mask` is not boolean.
    """
    _check_steps(xs, mask)
    swap = partial(jax.tree.map, lambda x: jnp.swapaxes(x, 0, 1))
    arguments = precision.same_devices((params, carry, swap((xs, mask)), memory))
    carry, ys = _run(cell, reverse, *arguments)
    return carry, swap(ys)


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


def _run(
    cell: Cell, reverse: bool, params: Tree, carry: Tree, steps: Tree, memory: Tree
) -> tuple[Tree, Tree]:
    """The scan, time first; `steps` are xs and mask."""
    first = partial(jax.tree.map, lambda x: x[0])
    row = params, first(carry), first(first(steps[0])), first(memory)
    program = trace(cell, *row)
    weights, others = program.invariants(params)
    run = _differentiable(program, reverse)
    return run(weights, (others, carry, steps, memory))


def _differentiable(
    program: Program, reverse: bool
) -> Callable[..., tuple[Tree, Tree]]:
    """The loop as a function of its weights and of all else that it reads."""

    @jax.custom_jvp
    def run(weights: list[Array], rest: Tree) -> tuple[Tree, Tree]:
        return _loop(program, reverse, weights, rest, {})[0]

    @partial(run.defjvp, symbolic_zeros=True)
    def rule(primals: Tree, tangents: Tree) -> tuple[Tree, Tree]:
        (weights, rest), (d_weights, d_rest) = primals, tangents
        leaves, structure = jax.tree.flatten(rest)
        d_leaves = jax.tree.leaves(d_rest)
        moved = {i: d for i, d in enumerate(d_leaves) if _is_tangent(d)}
        watched = {
            i: product
            for i, product in program.products.items()
            if _is_tangent(d_weights[product.weight])
        }

        def loop(some: dict[int, Array], offsets: Offsets) -> Any:
            mixed = [some.get(i, leaf) for i, leaf in enumerate(leaves)]
            rest = structure.unflatten(mixed)
            return _loop(program, reverse, weights, rest, offsets)

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
    """The scan itself, and what the weights of watched products were multiplied with."""
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
    outputs = {i: p.equation.outvars[0].aval for i, p in products.items()}
    zeros = {i: jnp.zeros((T, B, *y.shape), y.dtype) for i, y in outputs.items()}
    return precision.same_devices((zeros, carry))[0]


def _is_tangent(tangent: Any) -> bool:
    """Whether a tangent is more than a zero that needs no array."""
    return not isinstance(tangent, SymbolicZero) and tangent.dtype != float0


def _where(keep: Array, new: Array, old: Array) -> Array:
    return jnp.where(keep.reshape(keep.shape + (1,) * (new.ndim - keep.ndim)), new, old)
