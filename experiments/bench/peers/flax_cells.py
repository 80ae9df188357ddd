"""The decoder of RNNSearch, written with flax.nnx alone."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from experiments.bench.shapes import DecoderSpec


class RNNSearchCell(nnx.RNNCellBase):
    """Additive attention, then `nnx.GRUCell`; for `nnx.RNN`.

    `nnx.RNN` passes a cell nothing but its carry and input, so keys, values and mask
    are part of the carry. Flax's GRU applies the reset gate after the matmul, the paper
    before it; both cost the same.
    """

    def __init__(self, spec: DecoderSpec, *, rngs: nnx.Rngs) -> None:
        _, _, _, D, M, E, A, *_ = spec
        self.query = nnx.Linear(D, A, use_bias=False, rngs=rngs)
        self.keys = nnx.Linear(E, A, use_bias=False, rngs=rngs)
        self.score = nnx.Linear(A, 1, use_bias=False, rngs=rngs)
        self.gru = nnx.GRUCell(M + E, D, rngs=rngs)

    def carry_of(self, start: Array, values: Array, mask: Array) -> Any:
        """The first carry, from a state [B, D], values [B, S, E] and a mask [B, S]."""
        return start, self.keys(values), values, mask

    def __call__(self, carry: Any, x: Array) -> tuple[Any, Array]:  # type: ignore[override]
        """Advances by one target position: inputs [B, M] -> outputs [B, D+E]."""
        state, keys, values, mask = carry
        query = self.query(state)[:, None]  # [B, A] -> [B, 1, A]
        scores = self.score(jnp.tanh(query + keys))[..., 0]  # [B, S, 1] -> [B, S]
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        context = jnp.einsum("bs,bse->be", jax.nn.softmax(scores), values)
        new, _ = self.gru(state, jnp.concatenate([x, context], axis=-1))
        output = jnp.concatenate([state, context], axis=-1)
        return (new, keys, values, mask), output

    @property
    def num_feature_axes(self) -> int:
        """Number of feature axes of the input."""
        return 1
