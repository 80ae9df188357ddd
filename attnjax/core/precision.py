"""Compute and accumulation dtypes: the one file that decides them.

Every matrix product of the library goes through `matmul`; every softmax, loss and
normalisation through `upcast`. Inputs choose the compute dtype (their promoted dtype),
sums accumulate in at least float32, and results come back in the compute dtype. No
dtype is the widest one here, so float64 works throughout.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import SymbolicZero
from jax.typing import DTypeLike

Tree = Any
# In a jaxpr, this name marks a product whose derivative is one of those below.
MATMUL = "attnjax.matmul"


def promoted(*arrays: Array | DTypeLike) -> Any:
    """The dtype to which all arrays promote, also under strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*arrays)


def accumulation_dtype(dtype: DTypeLike) -> Any:
    """The dtype in which sums accumulate: float32, or `dtype` if that has more bits."""
    return jnp.float32 if _is_low_precision(dtype) else jnp.dtype(dtype)


def upcast(x: Array) -> Array:
    """Casts `x` to the dtype in which sums accumulate.

    Example:
      >>> upcast(jnp.ones(2, jnp.bfloat16)).dtype
      dtype('float32')
    """
    return x.astype(accumulation_dtype(x.dtype))


def matmul(x: Array, w: Array, *, upcast_result: bool = False) -> Array:
    """Multiplies the last axis of `x` with the first of `w`.

    Leading axes of `x` are flattened to one, so that the gradient of `w` is one
    2-D product. In low precision (below 32 bits), forward and backward products all
    take low-precision operands and accumulate in float32; the product of two matrices
    then has reverse-mode derivatives only.

    Args:
      x: shape [..., K].
      w: shape [K, N] or [K].
      upcast_result: whether to keep the dtype in which the sums accumulate. Scores and
        logits need it: a softmax of rounded ones has twice the error.

    Returns:
      Shape [..., N] or [...], in the promoted dtype of the inputs, or in the dtype in
      which they accumulate.

    Raises:
      ValueError: if the sizes of K differ.

    Example:
      >>> matmul(jnp.ones((2, 3)), jnp.ones((3, 1))).tolist()
      [[3.0], [3.0]]
    """
    if x.ndim == 0 or w.ndim == 0 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"w: expected shape [{x.shape[-1] if x.ndim else '?'}, ...], "
            f"got {list(w.shape)} (its first axis meets the last axis of x)"
        )
    dtype = promoted(x, w)
    rows = x.astype(dtype)
    if x.ndim > 2:
        rows = as_rows(rows)
    product = _product(rows, w.astype(dtype), upcast_result)
    return product.reshape(*x.shape[:-1], *w.shape[1:])  # [rows, N] -> [..., N]


def as_rows(x: Array) -> Array:
    """Flattens all axes but the last: [..., K] -> [rows, K]."""
    # Not -1, which has no answer if an axis is empty.
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # [..., K] -> [rows, K]


def _product(x: Array, w: Array, upcast_result: bool) -> Array:
    """Chooses how `x @ w` is differentiated; x has one axis or two."""
    matrices = x.ndim == w.ndim == 2
    if _is_low_precision(x.dtype):
        if matrices:
            return _low_precision(*same_devices((x, w)), upcast_result)
        return _low_precision_vector(upcast_result)(x, w)
    if matrices and _prefer_transposed(*w.shape):
        return _transposed_gradient(x, w)
    return _dot(x, w)


def weight_gradient(x: Array, g: Array) -> Array:
    """The gradient of W in `x @ W`, summed over all leading axes.

    Args:
      x: what W is multiplied with, shape [..., K].
      g: the cotangent of the product, shape [..., N].

    Returns:
      Shape [K, N], accumulated in at least float32, in the dtype of `g`.
    """
    rows, outputs = as_rows(x), as_rows(g)
    if _prefer_transposed(rows.shape[1], outputs.shape[1]):
        transposed = _cpu_barrier(_over_rows(outputs, rows))
        return transposed.T.astype(g.dtype)  # [N, K] -> [K, N]
    return _over_rows(rows, outputs).astype(g.dtype)


def weight_tangent(x: Array, dw: Array) -> Array:
    """The tangent of `x @ W` for that of W; its transpose is `weight_gradient` of x.

    Args:
      x: what W is multiplied with, shape [rows, K] or [K].
      dw: the tangent of W, shape [K, N] or [K].

    Returns:
      Shape [rows, N], without an axis that an argument lacks, in the dtype of `x`.
    """
    if dw.ndim == 2 and _prefer_transposed(*dw.shape):
        dw = _cpu_barrier(dw.T).T  # [K, N] -> [N, K] -> [K, N]
    return _backward_dot(x, dw)


def backward_dot(
    x: Array,
    w: Array,
    dimension_numbers: Any,
    *,
    precision: Any = None,
    rounded: bool = False,
) -> Array:
    """A dot of the backward pass, which `vmap` may batch.

    Its result is in the accumulation dtype, or rounded to that of the operands. XLA:CPU
    neither accumulates every low-precision dot in float32 nor implements each batched
    one whose result is float32. So the operands are upcast where a program is lowered
    for a CPU, whatever the device of the process that traces it.
    """
    dtype = promoted(x, w)

    def dot(x: Array, w: Array, accumulate_dtype: Any) -> Array:
        options = {"precision": precision, "preferred_element_type": accumulate_dtype}
        product = lax.dot_general(x, w, dimension_numbers, **options)
        return product.astype(dtype if rounded else accumulation_dtype(dtype))

    def upcast_dot(x: Array, w: Array) -> Array:
        return dot(upcast(x), upcast(w), None)

    # Rounded, the transpose of this dot takes a cotangent in low precision too.
    other = functools.partial(
        dot, accumulate_dtype=None if rounded else accumulation_dtype(dtype)
    )
    if not (_is_low_precision(x.dtype) or _is_low_precision(w.dtype)):
        return other(x, w)
    return lax.platform_dependent(x, w, cpu=upcast_dot, default=other)


def _cpu_barrier(x: Array) -> Array:
    """An optimisation barrier in programs that are lowered for a CPU."""
    return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)


def _over_rows(x: Array, g: Array) -> Array:
    """Contracts the rows: [rows, K], [rows, N] -> [K, N]."""
    return backward_dot(x, g, (((0,), (0,)), ((), ())))


def _is_low_precision(dtype: DTypeLike) -> bool:
    return bool(jnp.finfo(dtype).bits < 32)


def _prefer_transposed(K: int, N: int) -> bool:
    """Whether to compute the gradient of W [K, N] as that of its transpose [N, K].

    In a product that contracts the rows of both operands, XLA:CPU reads the columns of
    the left one at up to half the speed where these are the longer ones. XLA folds a
    transpose of the result back into the product; an optimisation barrier stops it.
    Elsewhere there is no barrier, and XLA chooses.
    """
    return K > N


def same_devices(tree: Tree) -> Tree:
    """Makes all arrays vary over the same mesh axes, inside `jax.shard_map`.

    A custom derivative must return cotangents of the types of its arguments. The
    transpose of this cast is the sum over devices that the gradient of a replicated
    array needs. Elsewhere it does nothing.

    Example:
      >>> same_devices((1.0, 2.0))
      (1.0, 2.0)
    """

    def axes(x: Array) -> frozenset[str]:
        return jax.typeof(x).manual_axis_type.varying

    every = frozenset[str]().union(*map(axes, jax.tree.leaves(tree)))

    def cast(x: Array) -> Array:
        missing = tuple(sorted(every - axes(x)))
        return lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, tree)


def _dot(x: Array, w: Array, upcast_result: bool = False) -> Array:
    """`x @ w`, accumulated in at least float32, in the dtype of both unless upcast."""
    axes = (((x.ndim - 1,), (0,)), ((), ()))
    accumulate_dtype = accumulation_dtype(x.dtype)
    product = lax.dot_general(x, w, axes, preferred_element_type=accumulate_dtype)
    return product if upcast_result else product.astype(x.dtype)


def _backward_dot(x: Array, w: Array) -> Array:
    """`x @ w` as a tangent, whose transpose takes low-precision operands too."""
    axes = (((x.ndim - 1,), (0,)), ((), ()))
    return backward_dot(x, w, axes, rounded=True)


def _product_rule(
    of_dx: Callable[[Array, Array], Array],
    of_dw: Callable[[Array, Array], Array],
    upcast_result: bool = False,
) -> Callable[..., tuple[Array, Array]]:
    """The JVP rule of `x @ w`, each term by a function of its own."""

    def rule(primals: Any, tangents: Any) -> tuple[Array, Array]:
        (x, w), (dx, dw) = primals, tangents
        terms = []
        if not isinstance(dx, SymbolicZero):
            terms.append(of_dx(dx, w))
        if not isinstance(dw, SymbolicZero):
            terms.append(of_dw(x, dw))
        y = _dot(x, w, upcast_result)
        return y, sum(terms[1:], start=terms[0]).astype(y.dtype)

    return rule


@jax.custom_jvp
def _transposed_gradient(x: Array, w: Array) -> Array:
    """`_dot` of matrices; the gradient of `w` is computed as that of its transpose."""
    return checkpoint_name(_dot(x, w), MATMUL)


_transposed_gradient.defjvp(_product_rule(_dot, weight_tangent), symbolic_zeros=True)


@functools.cache
def _low_precision_vector(upcast_result: bool) -> Callable[[Array, Array], Array]:
    """`_dot` of one row or with one column, as inside `vmap` over queries.

    Under `vmap`, the gradient of an operand that all rows share must stay one product.
    So the tangent is a plain product, of which JAX batches the transpose.
    """

    @jax.custom_jvp
    def product(x: Array, w: Array) -> Array:
        return checkpoint_name(_dot(x, w, upcast_result), MATMUL)

    rule = _product_rule(_backward_dot, weight_tangent, upcast_result)
    product.defjvp(rule, symbolic_zeros=True)
    return product


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _low_precision(x: Array, w: Array, upcast_result: bool) -> Array:
    """`_dot` of matrices whose backward products take low-precision operands too."""
    return checkpoint_name(_dot(x, w, upcast_result), MATMUL)


def _low_precision_forward(
    x: Array, w: Array, upcast_result: bool
) -> tuple[Array, tuple[Array, Array]]:
    return _dot(x, w, upcast_result), (x, w)


def _low_precision_backward(
    upcast_result: bool, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, w = residuals
    g = g.astype(x.dtype)
    axes = (((1,), (1,)), ((), ()))
    dx = lax.dot_general(g, w, axes, preferred_element_type=jnp.float32)
    return dx.astype(x.dtype), weight_gradient(x, g)


_low_precision.defvjp(_low_precision_forward, _low_precision_backward)
