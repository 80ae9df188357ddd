"""What every decoder takes and returns: steps and hypotheses."""

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

    Where there is no hypothesis (no token was allowed, or the row's `max_length` is 0)
    the length is 0, all tokens are padding, and log-probability and score are -inf.
    """

    tokens: Int[Array, "B K T"]  # EOS kept, padding after it
    lengths: Int[Array, "B K"]  # tokens, EOS among them
    log_probs: Float[Array, "B K"]  # of the whole sequence under the model, nats
    scores: Float[Array, "B K"]  # what the hypotheses are sorted by
    weights: Float[Array, "B K T S"]  # alignment; zero where tokens are padding


def step_shapes(
    step: Step, carry: Any, B: int
) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Infers the shapes of logits and weights, in at least float32, without a step.

    Raises:
      ValueError: if `step` does not return what a step returns, or a leaf of `carry`
        has no leading axis B.
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
    after, logits, weights = out
    _check_same(carry, after)
    for name, axis, x in (("logits", "V", logits), ("weights", "S", weights)):
        if x.ndim != 2 or x.shape[0] != B:
            raise ValueError(
                f"step: expected {name} of shape [{B}, {axis}], "
                f"got {list(x.shape)} (one token per row and step)"
            )
    return _at_least_float32(logits), _at_least_float32(weights)


def log_normaliser(logits: Float[Array, "... V"]) -> Float[Array, "..."]:
    """Log-sum-exp over the vocabulary; 0 where every logit is -inf."""
    total = jax.nn.logsumexp(logits, axis=-1)
    return jnp.where(total > -jnp.inf, total, 0)


def _check_same(before: Any, after: Any) -> None:
    """Checks that a step returns a carry like the one it takes."""

    def describe(x: Any) -> str:
        return f"{x.dtype}{list(x.shape)}"

    was, now = jax.tree.map(describe, before), jax.tree.map(describe, after)
    if was != now:
        raise ValueError(
            f"carry: expected step to return one like {was}, got {now} "
            "(structure, shapes and dtypes must not change while decoding)"
        )


def _at_least_float32(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, accumulation_dtype(x.dtype))
