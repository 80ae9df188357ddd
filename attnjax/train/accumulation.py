"""Losses that add up, and gradients that are accumulated over microbatches."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Shaped

from attnjax.core import precision

Params: TypeAlias = PyTree  # of arrays
Batch: TypeAlias = PyTree  # of arrays of shape [B, ...]


class Loss(NamedTuple):
    """A summed loss and its number of tokens, so that microbatches add up exactly.

    Means would not add up: microbatches hold unequal numbers of tokens.
    """

    total: Float[Array, ""]  # nats, summed over tokens
    num_tokens: Shaped[Array, ""]


Carry: TypeAlias = PyTree  # of arrays of shape [B, ...]
LossFn = Callable[[Params, Batch, Key[Array, ""]], Loss]
# Of one segment of each row's stream, with the state that the last segment left.
StreamLossFn = Callable[[Params, Batch, Key[Array, ""], Carry], tuple[Loss, Carry]]


def accumulate_gradients(
    loss_fn: LossFn,
    params: Params,
    batch: Batch,
    rng: Key[Array, ""],
    *,
    accumulation_steps: int = 1,
) -> tuple[Loss, Params]:
    """Sums loss and gradients over microbatches; pure, so it also works under pmap.

    Args:
      loss_fn: `(params, batch, rng) -> Loss`.
      params: tree of arrays.
      batch: tree of arrays whose first axis is the batch, shape [B, ...].
      rng: random key; microbatch k gets `fold_in(rng, k)` where there are several.
      accumulation_steps: number of microbatches.

    Returns:
      The summed loss, both fields in at least float32, and the gradient of its
      total, unscaled, in at least float32.

    Raises:
      ValueError, TypeError: as `make_train_step`.
    """

    def checked_loss(
        params: Params, rows: Batch, rng: Key[Array, ""]
    ) -> tuple[Array, Loss]:
        loss = _checked(loss_fn(params, rows, rng))
        return loss.total, loss

    def microbatch_gradients(rows: Batch, rng: Key[Array, ""]) -> tuple[Loss, Params]:
        (_, loss), grads = jax.value_and_grad(checked_loss, has_aux=True)(
            params, rows, rng
        )
        return loss, jax.tree.map(upcast, grads)

    return _sum_microbatches(microbatch_gradients, batch, rng, accumulation_steps)


def stream_gradients(
    loss_fn: StreamLossFn,
    params: Params,
    batch: Batch,
    rng: Key[Array, ""],
    carry: Carry,
) -> tuple[Loss, Params, Carry]:
    """Computes loss, gradient and new carry of a batch of segments.

    The gradient flows no further back than the segment: the carry is a constant of it.

    Args:
      loss_fn: `(params, batch, rng, carry) -> (Loss, carry)`.
      params: tree of arrays.
      batch: tree of arrays of shape [B, ...].
      rng: random key.
      carry: tree of arrays of shape [B, ...].

    Returns:
      Loss and gradient as of `accumulate_gradients`, and the carry.
    """

    def checked_loss(params: Params) -> tuple[Array, tuple[Loss, Carry]]:
        loss, new = loss_fn(params, batch, rng, carry)
        loss = _checked(loss)
        return loss.total, (loss, new)

    (_, (loss, new)), grads = jax.value_and_grad(checked_loss, has_aux=True)(params)
    return loss, jax.tree.map(upcast, grads), new


def mean_loss(
    loss_fn: LossFn,
    batch: Batch,
    rng: Key[Array, ""],
    params: Params,
    *,
    accumulation_steps: int,
) -> Array:
    """The mean loss of a whole batch, without its gradient."""

    def microbatch_loss(rows: Batch, rng: Key[Array, ""]) -> Loss:
        return _checked(loss_fn(params, rows, rng))

    loss = _sum_microbatches(microbatch_loss, batch, rng, accumulation_steps)
    return loss.total * reciprocal(loss.num_tokens)


def _sum_microbatches(
    function: Callable[[Batch, Key[Array, ""]], Any],
    batch: Batch,
    rng: Key[Array, ""],
    count: int,
) -> Any:
    """Sums a tree of arrays over microbatches, each with a random key of its own."""
    if count == 1:
        return function(batch, rng)
    # Not optax.MultiSteps: it averages gradients over microbatches of unequal size.
    microbatches = jax.tree.map(lambda x: _to_microbatches(x, count), batch)
    rngs = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(count))
    first = jax.tree.map(lambda x: x[0], microbatches)
    shapes = jax.eval_shape(function, first, rng)
    sums, _ = jax.lax.scan(
        lambda sums, xs: (jax.tree.map(jnp.add, sums, function(*xs)), None),
        jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
        (microbatches, rngs),
    )
    return sums


def reciprocal(count: Array) -> Array:
    """One over a number of tokens; 1 where there is none."""
    return 1 / jnp.where(count > 0, count, 1)


def upcast(x: Array) -> Array:
    """Casts `x` to at least float32; integer counts become float32."""
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return precision.upcast(x) if floating else x.astype(jnp.float32)


def _checked(loss: Any) -> Loss:
    """Checks the return value of the caller's loss function, and upcasts it."""
    if not isinstance(loss, Loss):
        raise TypeError(
            f"loss_fn: expected it to return a Loss(total, num_tokens), "
            f"got {type(loss).__name__} (sum over tokens, do not average)"
        )
    for name, value in loss._asdict().items():
        if jnp.shape(value) != ():
            raise ValueError(
                f"loss_fn: expected a scalar {name}, got shape "
                f"{list(jnp.shape(value))} (sum over the batch)"
            )
    return Loss(*(upcast(jnp.asarray(value)) for value in loss))


def _to_microbatches(x: Array, count: int) -> Array:
    """Splits a batch into microbatches: [B, ...] to [count, B / count, ...].

    Row i goes to microbatch i % count: contiguous slices of a sharded batch would each
    lie on few devices.
    """
    if x.shape[0] % count:
        raise ValueError(
            f"batch: expected a multiple of accumulation_steps = {count} rows, got "
            f"{x.shape[0]} (use another accumulation_steps, or pad the batch)"
        )
    # [B, ...] -> [B / count, count, ...] -> [count, B / count, ...]
    return x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)
