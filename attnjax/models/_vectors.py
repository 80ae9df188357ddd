"""What models of vectors share: the check of their inputs, and their output layer."""

import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.initializers import Initializers
from attnjax.core import precision


def check_vectors(x: Array, axes: str, width: int) -> None:
    """Checks inputs [axes, width] of a model of vectors.

    Raises:
      ValueError: if `x` has another shape.
    """
    if x.ndim != len(axes) + 1 or x.shape[-1] != width:
        raise ValueError(
            f"x: expected shape [{', '.join(axes)}, {width}], got {list(x.shape)} (the "
            "last axis is input_dim)"
        )


class VectorOutput(nnx.Module):
    """The output layer of a model that predicts vectors: W x + b."""

    def __init__(
        self, width: int, output_dim: int, initializers: Initializers, *, rngs: nnx.Rngs
    ) -> None:
        self.w = nnx.Param(initializers.kernel(rngs.params(), (width, output_dim)))
        self.b = nnx.Param(jnp.zeros(output_dim))

    def __call__(self, x: Array) -> Array:
        """Computes logits [..., output_dim] of [..., width], in at least float32."""
        kernel = self.w[...].astype(x.dtype)
        product = precision.matmul(x, kernel, upcast_result=True)
        return product + self.b[...].astype(product.dtype)
