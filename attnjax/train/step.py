"""One optimisation step, as a pure function that compiles once per batch shape.

`make_train_step` turns a loss function and an optax transformation into a jitted
`(state, batch, rng) -> (state, metrics)`. This file knows no model, device or file: the
sharding of the arrays decides where they live (`attnjax.parallel`), and the training
loop belongs to the caller.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree, Shaped

from attnjax.train.accumulation import (
    Batch,
    Loss,
    LossFn,
    Params,
    StreamLossFn,
    accumulate_gradients,
    mean_loss,
    reciprocal,
    stream_gradients,
    upcast,
)

Metrics: TypeAlias = dict[str, Shaped[Array, ""]]


class TrainState(NamedTuple):
    """Everything that a training step updates."""

    step: Int[Array, ""]  # steps taken so far
    params: Params
    opt_state: PyTree
    ema: Params | None = None  # exponential moving average of the parameters
    carry: PyTree | None = None  # of the rows of a stream, leaves [B, ...]


TrainStep = Callable[[TrainState, Batch, Key[Array, ""]], tuple[TrainState, Metrics]]


def init_state(
    params: Params,
    tx: optax.GradientTransformation,
    *,
    ema: bool = False,
    carry: PyTree | None = None,
) -> TrainState:
    """Makes the state before the first step.

    The state holds copies: a training step donates its state, which would delete the
    caller's parameters.

    Args:
      params: tree of arrays.
      tx: the optimiser.
      ema: whether to keep an exponential moving average (EMA) of the parameters, in at
        least float32; `make_train_step` updates it with `ema_decay`.
      carry: what each row of a stream carries from step to step (truncated
        backpropagation through time), leaves [B, ...]; None: batches are independent.

    Returns:
      The state at step 0, with the sharding of `params`.

    Example:
      >>> state = init_state({"w": jnp.ones(3)}, optax.sgd(0.1))
      >>> int(state.step), state.params["w"].shape
      (0, (3,))
    """
    # In bfloat16 the increments of a slow average would round to zero.
    average = jax.tree.map(upcast, params) if ema else None
    with jax.numpy_dtype_promotion("standard"):
        opt_state = tx.init(params)
    state = TrainState(jnp.zeros((), jnp.int32), params, opt_state, average, carry)
    # An explicit dtype removes weak types, which would recompile the second step.
    return jax.tree.map(lambda x: jnp.array(x, dtype=x.dtype, copy=True), state)


def make_train_step(
    loss_fn: LossFn | StreamLossFn,
    tx: optax.GradientTransformation,
    *,
    accumulation_steps: int = 1,
    skip_nonfinite: bool = False,
    ema_decay: float | None = None,
    state_sharding: Any = None,
) -> TrainStep:
    r"""Makes the function that takes one optimisation step.

    .. math:: g = \frac{\sum_k \nabla_\theta \ell_k}{\sum_k n_k}

    with ell_k the summed loss of microbatch k and n_k its number of tokens. This is
    the gradient of the mean over the whole batch for any number of microbatches. The
    random key of a step is `fold_in(rng, state.step)`, so a resumed run draws the same
    numbers as an uninterrupted one.

    A step without tokens (a batch of padding) changes neither parameters nor optimiser
    state nor EMA; only `step` advances.

    Args:
      loss_fn: `(params, batch, rng) -> Loss`, pure. For a state with a carry it is
        `(params, batch, rng, carry) -> (Loss, carry)`; the gradient does not flow into
        the carry, and a step that changes no parameters does not change it.
      tx: the optimiser, including gradient clipping. It is given what optax passes as
        extra arguments: `value` (the mean loss), `grad` (its gradient) and `value_fn`
        (the mean loss as a function of the parameters), so that `optax.lbfgs`,
        `optax.contrib.reduce_on_plateau` and others that need them work.
      accumulation_steps: number K of microbatches whose gradients are accumulated
        before the update, to save memory. Microbatch k holds rows k, k+K, k+2K, ..., so
        that a batch sharded over devices needs no resharding.
      skip_nonfinite: whether to skip updates whose gradient is not finite. By default
        they are applied, and `grad_norm` shows the NaN or infinity.
      ema_decay: d in [0, 1) of the exponential moving average of the parameters,
        m' = d m + (1 - d) p; at most (1 + t) / (10 + t) at step t, so that the average
        forgets the initial parameters. None does not update it.
      state_sharding: sharding of the returned state, or a tree of shardings; by default
        the compiler chooses.

    Returns:
      A jitted `(state, batch, rng) -> (state, metrics)`. It donates the state that is
      passed in: use the returned one. The metrics are scalars: `loss` (nats per token),
      `grad_norm` (global, before clipping), `tokens` (their number), `skipped` (1 where
      the update was skipped, else 0).

    Raises:
      ValueError: if `accumulation_steps` is not positive or, when the step is traced,
        does not divide the batch, or is not 1 for a state with a carry; if a loss is
        not a scalar; if `ema_decay` is outside [0, 1), or given for a state without an
        average.
      TypeError: if `loss_fn` does not return a `Loss`.

    Example:
      >>> from attnjax.train import Loss
      >>> squares = lambda w, x, rng: Loss(((x - w) ** 2).sum(), x.size)
      >>> tx = optax.sgd(0.5)
      >>> state = init_state(jnp.zeros(()), tx)
      >>> step = make_train_step(squares, tx)
      >>> state, metrics = step(state, jnp.array([1.0, 3.0]), jax.random.key(0))
      >>> float(state.params), float(metrics["loss"])
      (2.0, 5.0)
    """
    _check_options(accumulation_steps, ema_decay)

    def train_step(
        state: TrainState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        rng = jax.random.fold_in(rng, state.step)
        loss, grads, carry, value_fn = _gradients(
            loss_fn, state, batch, rng, accumulation_steps
        )
        scale = reciprocal(loss.num_tokens)
        grads = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
        grads = optax.tree.cast_like(grads, state.params)
        # optax mixes integer counts with floats: strict dtype promotion rejects that.
        with jax.numpy_dtype_promotion("standard"):
            grad_norm = optax.tree.norm(jax.tree.map(upcast, grads))
            extra = {"value": loss.total * scale, "grad": grads, "value_fn": value_fn}
            params, opt_state = _update(tx, state, grads, extra)
            ema = _update_ema(state, params, ema_decay)
        apply = loss.num_tokens > 0
        if skip_nonfinite:
            apply &= jnp.isfinite(grad_norm)
        # Not optax.apply_if_finite: it gives up after some steps, and covers neither
        # batches of padding nor the EMA.
        new, old = (params, opt_state, ema, carry), state[1:]
        chosen = jax.tree.map(partial(jnp.where, apply), new, old)
        return TrainState(state.step + 1, *chosen), {
            "loss": loss.total * scale,
            "grad_norm": grad_norm,
            "tokens": loss.num_tokens,
            "skipped": 1 - apply.astype(jnp.int32),
        }

    shardings = None if state_sharding is None else (state_sharding, None)
    return jax.jit(train_step, donate_argnums=0, out_shardings=shardings)


def _gradients(
    loss_fn: Any,
    state: TrainState,
    batch: Batch,
    rng: Key[Array, ""],
    accumulation_steps: int,
) -> tuple[Loss, Params, PyTree, Callable[[Params], Array]]:
    """Loss, gradient and new carry, and the mean loss as a function of parameters."""
    count = accumulation_steps
    if state.carry is None:
        value_fn = partial(mean_loss, loss_fn, batch, rng, accumulation_steps=count)
        loss, grads = accumulate_gradients(
            loss_fn, state.params, batch, rng, accumulation_steps=count
        )
        return loss, grads, None, value_fn
    if count != 1:
        raise ValueError(
            f"accumulation_steps: expected 1 for a state with a carry, got {count} "
            "(its rows go from batch to batch)"
        )

    def without_carry(params: Params, batch: Batch, rng: Key[Array, ""]) -> Loss:
        loss: Loss = loss_fn(params, batch, rng, state.carry)[0]
        return loss

    value_fn = partial(mean_loss, without_carry, batch, rng, accumulation_steps=1)
    found = stream_gradients(loss_fn, state.params, batch, rng, state.carry)
    return *found, value_fn


def _check_options(accumulation_steps: int, ema_decay: float | None) -> None:
    if accumulation_steps < 1:
        got = accumulation_steps
        raise ValueError(f"accumulation_steps: expected at least 1, got {got}")
    if ema_decay is not None and not 0 <= ema_decay < 1:
        hint = "None keeps no average"
        raise ValueError(f"ema_decay: expected [0, 1), got {ema_decay} ({hint})")


def _update(
    tx: optax.GradientTransformation, state: TrainState, grads: Params, extra: Any
) -> tuple[Params, PyTree]:
    """The parameters and the optimiser's state after an update."""
    tx = optax.with_extra_args_support(tx)
    updates, opt_state = tx.update(grads, state.opt_state, state.params, **extra)
    return optax.apply_updates(state.params, updates), opt_state


def _update_ema(
    state: TrainState, params: Params, decay: float | None
) -> Params | None:
    """Returns the EMA after a step to `params`."""
    if decay is None:
        return state.ema
    if state.ema is None:
        raise ValueError(
            "state: expected one with an EMA of the parameters, got none (make it "
            "with init_state(..., ema=True))"
        )
    t = state.step.astype(jnp.float32)
    step_size = 1 - jnp.minimum(decay, (1 + t) / (10 + t))  # warm-up
    return optax.incremental_update(params, state.ema, step_size)
