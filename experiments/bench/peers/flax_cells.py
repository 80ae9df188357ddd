"""The decoder of RNNSearch as one writes it with Flax alone."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from experiments.bench.shapes import DecoderSpec


class SearchCell(nnx.RNNCellBase):
    """Additive attention, then `nnx.GRUCell`; for `nnx.RNN`.

    What is read at every step travels in the carry, unchanged. Flax's GRU resets
    after the matmul, which costs the same as the paper's.
    """

    def __init__(self, spec: DecoderSpec, *, rngs: nnx.Rngs) -> None:
        _, _, _, D, M, E, A, *_ = spec
        self.query = nnx.Linear(D, A, use_bias=False, rngs=rngs)
        self.keys = nnx.Linear(E, A, use_bias=False, rngs=rngs)
        self.score = nnx.Linear(A, 1, use_bias=False, rngs=rngs)
        self.gru = nnx.GRUCell(M + E, D, rngs=rngs)

    def carry(self, start: Array, values: Array, mask: Array) -> Any:
        """What the first step is given."""
        return start, self.keys(values), values, mask

    def __call__(self, carry: Any, x: Array) -> tuple[Any, Array]:  # type: ignore[override]
        """Advances by one target position: inputs [B, M] -> outputs [B, D+E]."""
        state, keys, values, mask = carry
        scores = self.score(jnp.tanh(self.query(state)[:, None] + keys))[..., 0]
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        context = jnp.einsum("bs,bse->be", jax.nn.softmax(scores), values)
        new, _ = self.gru(state, jnp.concatenate([x, context], axis=-1))
        output = jnp.concatenate([state, context], axis=-1)
        return (new, keys, values, mask), output

    @property
    def num_feature_axes(self) -> int:
        """How many axes of the input are features."""
        return 1
