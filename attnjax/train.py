"""One optimisation step, as a pure function that is compiled once per batch shape.

What comes in is a loss of the parameters and an `optax` transformation; what comes
out is `(state, batch, rng) -> (state, metrics)` under plain `jax.jit`. Nothing here
knows a model, a device or a file: where arrays live is decided by the arrays
themselves (`attnjax.parallel`), and the loop around the step belongs to the caller.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from attnjax.core.precision import upcast

Params: TypeAlias = PyTree  # of arrays
Batch: TypeAlias = PyTree  # of arrays of shape [B, ...]
Metrics: TypeAlias = dict[str, Shaped[Array, ""]]


class Loss(NamedTuple):
    """A sum and what it is a sum over, so that parts of a batch add up exactly.

    A mean would not: the parts of a batch hold unequal numbers of tokens.
    """

    total: Float[Array, ""]  # nats, summed
    weight: Shaped[Array, ""]  # how many tokens that is


class TrainState(NamedTuple):
    """All that a step changes."""

    step: Int[Array, ""]  # steps taken so far
    params: Params
    opt_state: PyTree
    average: Params | None = None  # running mean of the parameters, if one is kept


LossFn = Callable[[Params, Batch, Key[Array, ""]], Loss]
TrainStep = Callable[[TrainState, Batch, Key[Array, ""]], tuple[TrainState, Metrics]]


def init_state(
    params: Params, tx: optax.GradientTransformation, *, average: bool = False
) -> TrainState:
    """Makes the state before the first step.

    The arrays are copies: a train step donates its state, and the caller's
    parameters must survive that.

    Args:
      params: tree of arrays.
      tx: the optimiser.
      average: keep a running mean of the parameters, for a step that updates it.

    Returns:
      The state at step 0, placed where `params` are.

    Example:
      >>> state = init_state({"w": jnp.ones(3)}, optax.sgd(0.1))
      >>> int(state.step), state.params["w"].shape
      (0, (3,))
    """
    with jax.numpy_dtype_promotion("standard"):
        state = TrainState(
            jnp.zeros((), jnp.int32),
            params,
            tx.init(params),
            params if average else None,
        )
    # With a dtype, so that no leaf stays weakly typed, or the second step would be
    # compiled anew.
    return jax.tree.map(lambda x: jnp.array(x, dtype=x.dtype, copy=True), state)


def make_train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    skip_nonfinite: bool = False,
    average_decay: float | None = None,
    state_sharding: Any = None,
) -> TrainStep:
    r"""Makes the function that takes one optimisation step.

    .. math:: g = \frac{\sum_k \nabla_\theta \ell_k}{\sum_k n_k}

    with ell_k the summed loss of part k of the batch and n_k its weight: the
    gradient of the mean over the whole batch, whatever the number of parts.
    The random key of a step is `fold_in(rng, state.step)`, so a run that is
    resumed draws what it would have drawn.

    A step whose weight is 0 (a batch of padding) leaves parameters and optimiser
    as they are; only `step` advances.

    Args:
      loss_fn: `(params, batch, rng) -> Loss`, pure.
      tx: the optimiser. Clipping belongs in it.
      accumulate: number K of parts in which the batch is taken one after another,
        to save memory; part k holds the rows k, k+K, k+2K, ..., so that a batch
        sharded over devices stays where it is.
      skip_nonfinite: a step whose gradient is not finite leaves parameters and
        optimiser as they are, and is counted in `skipped`. By default it is
        taken, and shows as a `grad_norm` that is not finite.
      average_decay: d of a running mean of the parameters, m' = d m + (1 - d) p, in
        [0, 1); smaller in the first steps, (1 + t) / (10 + t), so that it forgets
        where it began. The state must hold one; None leaves it alone.
      state_sharding: sharding, or tree of shardings, in which the state is
        returned; by default the compiler chooses (on one device there is no
        choice).

    Returns:
      A jitted `(state, batch, rng) -> (state, metrics)`. The state passed in is
      donated: use the one returned. The metrics are scalars: `loss` (nats per
      token), `grad_norm` (global, before any clipping), `tokens` (the weight),
      `skipped` (1 where the step changed nothing, else 0).

    Raises:
      ValueError: if `accumulate` is not positive or, when the step is traced,
        does not divide the batch; if a loss is not a scalar; if `average_decay` is
        outside [0, 1), or given and the state has no mean.
      TypeError: if `loss_fn` does not return a `Loss`.

    Example:
      >>> squares = lambda w, x, rng: Loss(((x - w) ** 2).sum(), x.size)
      >>> tx = optax.sgd(0.5)
      >>> state = init_state(jnp.zeros(()), tx)
      >>> step = make_train_step(squares, tx)
      >>> state, metrics = step(state, jnp.array([1.0, 3.0]), jax.random.key(0))
      >>> float(state.params), float(metrics["loss"])
      (2.0, 5.0)
    """
    _check_options(accumulate, average_decay)

    def train_step(
        state: TrainState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        rng = jax.random.fold_in(rng, state.step)
        loss, total_grads = sum_of_parts(
            loss_fn, state.params, batch, rng, accumulate=accumulate
        )
        scale = 1 / jnp.where(loss.weight > 0, loss.weight, 1)
        grads = jax.tree.map(
            lambda g, p: (g * scale.astype(g.dtype)).astype(p.dtype),
            total_grads,
            state.params,
        )
        grad_norm = global_norm(grads)
        keep = loss.weight > 0
        if skip_nonfinite:
            keep &= jnp.isfinite(grad_norm)
        # optax raises Python floats to integer counts, which `strict` would refuse.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = tx.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        average = _moved(state, params, average_decay)
        new = TrainState(
            state.step + 1,
            _choose(keep, params, state.params),
            _choose(keep, opt_state, state.opt_state),
            _choose(keep, average, state.average),
        )
        return new, {
            "loss": loss.total * scale,
            "grad_norm": grad_norm,
            "tokens": loss.weight,
            "skipped": 1 - keep.astype(jnp.int32),
        }

    shardings = None if state_sharding is None else (state_sharding, None)
    return jax.jit(train_step, donate_argnums=0, out_shardings=shardings)


def _check_options(accumulate: int, average_decay: float | None) -> None:
    if accumulate < 1:
        raise ValueError(f"accumulate: expected at least 1, got {accumulate}")
    if average_decay is not None and not 0 <= average_decay < 1:
        raise ValueError(
            f"average_decay: expected a share in [0, 1), got {average_decay} (None "
            "keeps no mean)"
        )


def sum_of_parts(
    loss_fn: LossFn,
    params: Params,
    batch: Batch,
    rng: Key[Array, ""],
    *,
    accumulate: int = 1,
) -> tuple[Loss, Params]:
    """Sums loss and gradient over the parts of a batch; pure, so it also pmaps.

    Args:
      loss_fn: `(params, batch, rng) -> Loss`.
      params: tree of arrays.
      batch: tree of arrays whose first axis is the batch, shape [B, ...].
      rng: random key; part k gets `fold_in(rng, k)` where there are several.
      accumulate: number of parts.

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

    def part(rows: Batch, rng: Key[Array, ""]) -> tuple[Loss, Params]:
        (_, loss), grads = jax.value_and_grad(checked_loss, has_aux=True)(
            params, rows, rng
        )
        return loss, jax.tree.map(_widen, grads)

    if accumulate == 1:
        return part(batch, rng)
    parts = jax.tree.map(lambda x: _deal(x, accumulate), batch)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(accumulate))
    shapes = jax.eval_shape(part, jax.tree.map(lambda x: x[0], parts), rng)
    sums, _ = jax.lax.scan(
        lambda sums, xs: (jax.tree.map(jnp.add, sums, part(*xs)), None),
        jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
        (parts, keys),
    )
    return sums


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """Takes the Euclidean norm of all leaves together, in at least float32."""
    squares = [jnp.sum(jnp.square(_widen(leaf))) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(squares, jnp.zeros(())))


def _widen(x: Array) -> Array:
    """Takes `x` to the dtype of sums; counts become floats."""
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return upcast(x) if floating else x.astype(jnp.float32)


def _moved(state: TrainState, params: Params, decay: float | None) -> Params | None:
    """The running mean after a step to `params`."""
    if decay is None:
        return state.average
    if state.average is None:
        raise ValueError(
            "state: expected one with a mean of the parameters, got none (make it "
            "with init_state(..., average=True))"
        )
    t = state.step.astype(jnp.float32)
    share = jnp.minimum(decay, (1 + t) / (10 + t))
    return jax.tree.map(
        lambda mean, new: mean + (1 - share).astype(mean.dtype) * (new - mean),
        state.average,
        params,
    )


def _choose(keep: Array, new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda n, o: jnp.where(keep, n, o), new, old)


def _checked(loss: Any) -> Loss:
    """Checks what the caller's loss returned, and widens it."""
    if not isinstance(loss, Loss):
        raise TypeError(
            f"loss_fn: expected it to return a Loss(total, weight), "
            f"got {type(loss).__name__}"
        )
    for name, value in loss._asdict().items():
        if jnp.shape(value) != ():
            raise ValueError(
                f"loss_fn: expected a scalar {name}, got shape "
                f"{list(jnp.shape(value))} (sum over the batch)"
            )
    return Loss(*(_widen(jnp.asarray(value)) for value in loss))


def _deal(x: Array, parts: int) -> Array:
    """Deals rows to parts like cards: [B, ...] to [parts, B / parts, ...].

    Dealt, not cut: the rows of one part then lie on all devices of a sharded batch.
    """
    if x.shape[0] % parts:
        raise ValueError(
            f"batch: expected a number of rows divisible by accumulate={parts}, "
            f"got {x.shape[0]} (use another accumulate, or pad the batch)"
        )
    return x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
