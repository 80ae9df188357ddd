"""Compute and accumulation dtypes: the one file that decides them.

Every matrix product of the library goes through `matmul`; every softmax, loss
and normalisation through `upcast`. Inputs choose the compute dtype (their
promoted dtype), sums are taken in at least float32, results are returned in the
compute dtype. Nothing names float32 as a ceiling, so float64 works throughout.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import DTypeLike

Tree = Any


def promoted(*arrays: Array) -> Any:
    """The dtype that all arrays fit in, also under strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*arrays)


def accumulation_dtype(dtype: DTypeLike) -> Any:
    """The dtype sums are taken in: float32, or `dtype` where that is wider."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)


def upcast(x: Array) -> Array:
    """`x` in the dtype that sums are taken in.

    Example:
      >>> upcast(jnp.ones(2, jnp.bfloat16)).dtype
      dtype('float32')
    """
    return x.astype(accumulation_dtype(x.dtype))


def matmul(x: Array, w: Array) -> Array:
    """Multiplies the last axis of `x` with the first of `w`.

    Leading axes of `x` are flattened to one, so that the gradient of `w` is one
    2-D product. Below 32 bits, forward and backward products all take narrow
    operands and accumulate in float32 (of two matrices there is then no
    forward-mode derivative).

    Args:
      x: shape [..., K].
      w: shape [K, N] or [K].

    Returns:
      Shape [..., N] or [...], in the promoted dtype of the inputs.

    Raises:
      ValueError: if the sizes of K differ.

    Example:
      >>> matmul(jnp.ones((2, 3)), jnp.ones((3, 1))).tolist()
      [[3.0], [3.0]]
    """
    if isinstance(w, Tapped):
        return w.product(x)
    if x.ndim == 0 or w.ndim == 0 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"w: expected shape [{x.shape[-1] if x.ndim else '?'}, ...], "
            f"got {list(w.shape)} (its first axis meets the last axis of x)"
        )
    dtype = promoted(x, w)
    flat = x.astype(dtype).reshape(-1, x.shape[-1]) if x.ndim > 2 else x.astype(dtype)
    product = _product(flat, w.astype(dtype))
    return product.reshape(*x.shape[:-1], *w.shape[1:])


def _product(x: Array, w: Array) -> Array:
    """Chooses how `x @ w` is differentiated; x has one axis or two."""
    narrow = jnp.finfo(x.dtype).bits < 32
    if narrow and x.ndim == w.ndim == 2:
        return _narrow(*same_devices((x, w)))
    if narrow:
        return _narrow_vector(x, w)
    if x.ndim == w.ndim == 2 and _crosswise(*w.shape):
        return _tall(x, w)
    return _dot(x, w)


def weight_gradient(x: Array, g: Array) -> Array:
    """The gradient of W in `x @ W`, summed over all leading axes.

    Args:
      x: what W was multiplied with, shape [..., K].
      g: the gradient of the product, shape [..., N].

    Returns:
      Shape [K, N], accumulated in at least float32, in the dtype of `g`.
    """
    rows, outputs = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    if _crosswise(rows.shape[1], outputs.shape[1]):
        return lax.optimization_barrier(_over_rows(outputs, rows)).T.astype(g.dtype)
    return _over_rows(rows, outputs).astype(g.dtype)


def _over_rows(x: Array, g: Array) -> Array:
    axes, wide = (((0,), (0,)), ((), ())), accumulation_dtype(g.dtype)
    return lax.dot_general(_operand(x), _operand(g), axes, preferred_element_type=wide)


def _operand(x: Array) -> Array:
    """What to multiply in a backward product that may be mapped.

    XLA on a CPU does not add up every narrow product wide, nor can it run each one
    whose result shall be wide. It makes the operands of these wide anyway.
    """
    return upcast(x) if _on_cpu() else x


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _crosswise(K: int, N: int) -> bool:
    """Whether the gradient of W [K, N] is better taken as that of its transpose.

    XLA's product on a CPU reads the columns of its left operand at up to half the
    speed where they are the longer ones. It folds a transpose back into the product,
    so one that is meant must stand behind a barrier.
    """
    return K > N and _on_cpu()


def same_devices(tree: Tree) -> Tree:
    """Makes all arrays differ by device, inside `jax.shard_map`, where one does.

    A hand-written gradient must return what its arguments are; the gradient of this
    cast is the sum over devices that a shared array needs. Elsewhere it does nothing.

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


def _dot(x: Array, w: Array) -> Array:
    """`x @ w` in the dtype of both, accumulated in at least float32."""
    wide = accumulation_dtype(x.dtype)
    axes = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x, w, axes, preferred_element_type=wide).astype(x.dtype)


def _product_rule(
    of_dx: Callable[[Array, Array], Array], of_dw: Callable[[Array, Array], Array]
) -> Callable[..., tuple[Array, Array]]:
    """The tangent of `x @ w`, each term by a function of its own."""

    def rule(primals: Any, tangents: Any) -> tuple[Array, Array]:
        (x, w), (dx, dw) = primals, tangents
        terms = []
        if not isinstance(dx, SymbolicZero):
            terms.append(of_dx(dx, w))
        if not isinstance(dw, SymbolicZero):
            terms.append(of_dw(x, dw))
        return _dot(x, w), sum(terms[1:], start=terms[0])

    return rule


@jax.custom_jvp
def _tall(x: Array, w: Array) -> Array:
    """`_dot` whose gradient of `w` is taken crosswise."""
    return _dot(x, w)


def _turned(x: Array, dw: Array) -> Array:
    return _dot(x, lax.optimization_barrier(dw.T).T)


_tall.defjvp(_product_rule(_dot, _turned), symbolic_zeros=True)


@jax.custom_jvp
def _narrow_vector(x: Array, w: Array) -> Array:
    """`_dot` of one row or with one column, as inside `vmap` over queries.

    The gradient of what all rows share must stay a product when it is mapped. So the
    tangent is a plain product, whose transpose takes narrow operands too where the
    backend adds them up wide.
    """
    return _dot(x, w)


def _plain(x: Array, w: Array) -> Array:
    axes = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(_operand(x), _operand(w), axes).astype(x.dtype)


_narrow_vector.defjvp(_product_rule(_plain, _plain), symbolic_zeros=True)


@jax.custom_vjp
def _narrow(x: Array, w: Array) -> Array:
    """`_dot` of matrices whose backward products take narrow operands too."""
    return _dot(x, w)


def _narrow_forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return _dot(x, w), (x, w)


def _narrow_backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = kept
    axes = (((1,), (1,)), ((), ()))
    dx = lax.dot_general(g, w, axes, preferred_element_type=jnp.float32)
    return dx.astype(x.dtype), weight_gradient(x, g)


_narrow.defvjp(_narrow_forward, _narrow_backward)


class Tapped:
    """A weight matrix whose products are watched while a cell is scanned.

    `matmul(x, tapped)` calls `product(x)` in place of the product with the weight;
    `cells/scan.py` uses this to take a weight's gradient after the scan. Any
    other use sees the plain array, and is counted, so that such a weight can be
    differentiated in the ordinary way.
    """

    def __init__(self, weight: Array, product: Callable[[Array], Array]) -> None:
        self._weight = weight
        self.product = product
        self.other_uses = 0

    shape = property(lambda self: self._weight.shape)
    dtype = property(lambda self: self._weight.dtype)
    ndim = property(lambda self: self._weight.ndim)

    def __jax_array__(self) -> Array:
        self.other_uses += 1
        return self._weight

    def __getitem__(self, index: Any) -> Array:
        return self.__jax_array__()[index]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__jax_array__(), name)


def _plainly(name: str) -> Callable[..., Any]:
    """An operator of `Tapped` that is the plain array's."""

    def operator(self: Tapped, *others: Any) -> Any:
        return getattr(self.__jax_array__(), name)(*others)

    return operator


# Python looks operators up in the class, so `__getattr__` cannot give them.
_BINARY = ("add", "sub", "mul", "truediv", "pow", "matmul")
for _name in ("neg", "abs", *_BINARY, *(f"r{name}" for name in _BINARY)):
    setattr(Tapped, f"__{_name}__", _plainly(f"__{_name}__"))
