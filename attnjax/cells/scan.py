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
from jax.ad_checkpoint import checkpoint_name

from attnjax.core import precision

Tree = Any
Cell = Callable[..., tuple[Tree, Tree]]
_ONLY_PRODUCTS = jax.checkpoint_policies.save_only_these_names("product")
Offsets = dict[int, list[Array]]  # by index of a leaf of params, one a product


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
    run = _differentiable(cell, reverse)
    arguments = precision.same_devices((params, carry, swap((xs, mask)), memory))
    carry, ys = run(*arguments)
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


def _differentiable(cell: Cell, reverse: bool) -> Callable[..., tuple[Tree, Tree]]:
    """The scan as a function whose pullback takes weight gradients at the end."""

    @jax.custom_vjp
    def run(params: Tree, carry: Tree, steps: Tree, memory: Tree) -> Any:
        final, (ys, _) = _steps(cell, reverse, params, carry, steps, memory, {})
        return final, ys

    def forward(params: Tree, carry: Tree, steps: Tree, memory: Tree) -> Any:
        xs, mask = steps
        offsets = _zero_offsets(cell, params, carry, xs, memory)
        offsets, _ = precision.same_devices((offsets, carry))

        def watched(
            params: Tree, carry: Tree, xs: Tree, memory: Tree, offsets: Offsets
        ) -> Any:
            leaves, structure = jax.tree.flatten(params)
            for index in offsets:
                leaves[index] = lax.stop_gradient(leaves[index])
            params = jax.tree.unflatten(structure, leaves)
            final, (ys, seen) = _steps(
                cell, reverse, params, carry, (xs, mask), memory, offsets
            )
            return (final, ys), seen

        result, pullback, seen = jax.vjp(
            watched, params, carry, xs, memory, offsets, has_aux=True
        )
        return result, (pullback, seen)

    def backward(kept: Any, cotangent: Any) -> Any:
        pullback, seen = kept
        d_params, d_carry, d_xs, d_memory, d_offsets = pullback(cotangent)
        leaves, structure = jax.tree.flatten(d_params)
        for index, inputs in seen.items():
            products = map(precision.weight_gradient, inputs, d_offsets[index])
            leaves[index] = sum(products, jnp.zeros_like(leaves[index]))
        return jax.tree.unflatten(structure, leaves), d_carry, (d_xs, None), d_memory

    run.defvjp(forward, backward)
    return run


def _steps(
    cell: Cell,
    reverse: bool,
    params: Tree,
    carry: Tree,
    steps: Tree,
    memory: Tree,
    offsets: Offsets,
) -> tuple[Tree, tuple[Tree, Offsets]]:
    """The scan itself, time first; also what each watched weight was multiplied by."""

    def step(carry: Tree, inputs: Tree) -> tuple[Tree, Any]:
        x, keep, offset = inputs
        rows = jax.vmap(partial(_one_row, cell, params))
        kept = jax.checkpoint(rows, prevent_cse=False, policy=_ONLY_PRODUCTS)
        new, y, seen = kept(carry, x, memory, offset)
        if keep is not None:
            new = jax.tree.map(partial(_where, keep), new, carry)
            y = jax.tree.map(lambda a: _where(keep, a, jnp.zeros_like(a)), y)
        return new, (y, seen)

    return lax.scan(step, carry, (*steps, offsets), reverse=reverse)


def _one_row(
    cell: Cell, params: Tree, carry: Tree, x: Tree, memory: Tree, offset: Offsets
) -> tuple[Tree, Tree, Offsets]:
    """One step of one row, with the products of some weights watched."""
    seen: Offsets = {index: [] for index in offset}
    leaves, structure = jax.tree.flatten(params)

    def watch(index: int, weight: Array) -> precision.Tapped:
        def product(x: Array) -> Array:
            shift = offset[index][len(seen[index])]
            seen[index].append(x)
            return checkpoint_name(precision.matmul(x, weight) + shift, "product")

        return precision.Tapped(weight, product)

    for index in offset:
        leaves[index] = watch(index, leaves[index])
    new, y = _call(cell, jax.tree.unflatten(structure, leaves), carry, x, memory)
    return new, y, seen


def _call(cell: Cell, params: Tree, carry: Tree, x: Tree, memory: Tree) -> Any:
    if memory is None:
        return cell(params, carry, x)
    return cell(params, carry, x, memory=memory)


def _zero_offsets(
    cell: Cell, params: Tree, carry: Tree, xs: Tree, memory: Tree
) -> Offsets:
    """Zeros [T, B, ...] for every product of a matrix that is used in products only."""
    T, B = jax.tree.leaves(xs)[0].shape[:2]
    leaves, structure = jax.tree.flatten(params)
    products: dict[int, list[Any]] = {
        i: [] for i, leaf in enumerate(leaves) if leaf.ndim == 2
    }
    other_uses: set[int] = set()

    def trace(leaves: list[Array], carry: Tree, x: Tree, memory: Tree) -> Tree:
        def note(index: int, weight: Array) -> precision.Tapped:
            def product(x: Array) -> Array:
                y = precision.matmul(x, weight)
                products[index].append(jax.ShapeDtypeStruct((T, B, *y.shape), y.dtype))
                return y

            return precision.Tapped(weight, product)

        noted = {i: note(i, leaves[i]) for i in products}
        mixed = [noted.get(i, leaf) for i, leaf in enumerate(leaves)]
        _call(cell, jax.tree.unflatten(structure, mixed), carry, x, memory)
        other_uses.update(i for i, tapped in noted.items() if tapped.other_uses)
        return ()

    first_row = partial(jax.tree.map, lambda a: a[0])
    jax.eval_shape(
        trace, leaves, first_row(carry), first_row(first_row(xs)), first_row(memory)
    )
    return {
        i: [jnp.zeros(p.shape, p.dtype) for p in shapes]
        for i, shapes in products.items()
        if shapes and i not in other_uses
    }


def _where(keep: Array, new: Array, old: Array) -> Array:
    return jnp.where(keep.reshape(keep.shape + (1,) * (new.ndim - keep.ndim)), new, old)
