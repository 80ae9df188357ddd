"""The types that every decoder takes and returns: steps and hypotheses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.core.precision import accumulation_dtype

# carry, token [B] -> carry, logits [B, V], weights [B, S]
Step = Callable[[Any, Array], tuple[Any, Array, Array]]


class Hypotheses(NamedTuple):
    """Decoded sequences, K for each row, best first.

    An empty slot (no token was allowed, or the row's maximum length is 0) has length 0,
    padding tokens only, and log-probability and score -inf.
    """

    tokens: Int[Array, "B K T"]  # with EOS, then padding
    lengths: Int[Array, "B K"]  # tokens, including EOS
    log_probs: Float[Array, "B K"]  # of the whole sequence under the model, nats
    scores: Float[Array, "B K"]  # sort key: log-probability with penalties
    weights: Float[Array, "B K T S"]  # alignment; zero where tokens are padding


def step_output_shapes(
    step: Step, carry: Any, B: int
) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Returns the shapes of logits and weights, in at least float32, by tracing.

    Raises:
      ValueError: if the outputs of `step`, or the leaves of `carry`, do not have the
        shapes that a batch of B rows needs.
    """
    carry = jax.tree.map(jnp.asarray, carry)
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        if leaf.shape[:1] != (B,):
            name = "carry" + jax.tree_util.keystr(path)
            raise ValueError(
                f"{name}: expected a leading axis of batch_size = {B}, got shape "
                f"{list(leaf.shape)} (every leaf of a carry has one entry per row)"
            )
    token = jax.ShapeDtypeStruct((B,), jnp.int32)
    out = jax.eval_shape(step, carry, token)
    if not isinstance(out, tuple) or len(out) != 3:
        got = f"{len(out)} values" if isinstance(out, tuple) else type(out).__name__
        raise ValueError(
            f"step: expected (carry, logits, weights), got {got} "
            "(a model without attention returns weights of zeros, shape [B, S])"
        )
    new_carry, logits, weights = out
    _check_same_carry(carry, new_carry)
    for name, axis, x in (("logits", "V", logits), ("weights", "S", weights)):
        if x.ndim != 2 or x.shape[0] != B:
            raise ValueError(
                f"step: expected {name} of shape [{B}, {axis}], "
                f"got {list(x.shape)} (one token per row and step)"
            )
    return _at_least_float32(logits), _at_least_float32(weights)


def log_normaliser(logits: Float[Array, "... V"]) -> Float[Array, "..."]:
    """Log-sum-exp over the vocabulary; 0 where every logit is -inf, to avoid NaN."""
    total = jax.nn.logsumexp(logits, axis=-1)
    return jnp.where(total > -jnp.inf, total, 0)


def _check_same_carry(old: Any, new: Any) -> None:
    """Checks that a step returns a carry of the type that it was given.

    A loop needs this: `lax.while_loop` carries values of one type.
    """

    def describe(x: Any) -> str:
        return f"{x.dtype}{list(x.shape)}"

    expected, got = jax.tree.map(describe, old), jax.tree.map(describe, new)
    if expected != got:
        raise ValueError(
            f"carry: expected step to return one like {expected}, got {got} "
            "(structure, shapes and dtypes must not change while decoding)"
        )


def _at_least_float32(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, accumulation_dtype(x.dtype))
