"""One training step: exact sums over microbatches and devices, EMA, skipped steps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attnjax.parallel import (
    make_global_batch,
    make_mesh,
    replicate,
    replicated_sharding,
)
from attnjax.train import (
    Loss,
    accumulate_gradients,
    init_state,
    make_train_step,
)

pytestmark = pytest.mark.versions

B, D, E = 12, 5, 3

OPTIMISERS = {  # a new row inherits every law below
    "sgd": lambda: optax.sgd(0.1),
    "adam, clipped": lambda: optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(1e-2)
    ),
    "adadelta": lambda: optax.adadelta(1.0),
    "momentum on a schedule": lambda: optax.sgd(
        optax.cosine_decay_schedule(0.1, 10), momentum=0.9
    ),
}
each_optimiser = pytest.mark.parametrize(
    "tx", [make() for make in OPTIMISERS.values()], ids=list(OPTIMISERS)
)


def squares(params, batch, rng):
    """Squared error of a linear map; rows whose weight is 0 are padding."""
    del rng
    errors = batch["x"] @ params["w"] + params["b"] - batch["y"]
    total = (jnp.square(errors).sum(axis=-1) * batch["weight"]).sum()
    return Loss(total, batch["weight"].sum())


def data(seed=0, weight=None):
    draw = np.random.default_rng(seed)
    return {
        "x": draw.normal(size=(B, D)).astype(np.float32),
        "y": draw.normal(size=(B, E)).astype(np.float32),
        "weight": np.asarray(
            draw.integers(0, 4, B) if weight is None else np.full(B, weight),
            np.float32,
        ),
    }


def params():
    return {"w": jnp.full((D, E), 0.5), "b": jnp.zeros(E)}


def run(tx, *, steps=4, batches=None, place=lambda x: x, **options):
    """Takes a few steps; returns the state and the metrics of each step."""
    step = make_train_step(squares, tx, **options)
    state, seen = place(init_state(params(), tx)), []
    for index in range(steps):
        batch = data(index) if batches is None else batches(index)
        state, metrics = step(state, batch, jax.random.key(0))
        seen.append(jax.device_get(metrics))
    return state, seen


@each_optimiser
def test_gradient_accumulation_gives_the_numbers_of_the_whole_batch(tx):
    full, metrics = run(tx)
    summed, summed_metrics = run(tx, accumulation_steps=3)
    chex.assert_trees_all_close(summed, full, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(summed_metrics, metrics, rtol=1e-5)


def test_the_ema_is_the_moving_average_of_the_parameters():
    tx, decay = OPTIMISERS["adam, clipped"](), 0.6
    step = make_train_step(squares, tx, ema_decay=decay)
    state, ema = init_state(params(), tx, ema=True), params()
    for t in range(9):
        state, _ = step(state, data(t), jax.random.key(0))
        d = min(decay, (1 + t) / (10 + t))
        ema = jax.tree.map(lambda m, p, d=d: d * m + (1 - d) * p, ema, state.params)
    chex.assert_trees_all_close(state.ema, ema, rtol=1e-5, atol=1e-6)
    assert not np.allclose(state.ema["w"], state.params["w"], 1e-3)


def test_a_skipped_step_does_not_update_the_ema():
    tx = optax.sgd(0.1)
    step = make_train_step(squares, tx, ema_decay=0.5)
    state = init_state(params(), tx, ema=True)
    state, _ = step(state, data(0), jax.random.key(0))
    before = jax.device_get(state.ema)
    state, _ = step(state, data(1, weight=0.0), jax.random.key(0))
    chex.assert_trees_all_equal(state.ema, before)


def test_a_wrong_ema_decay_or_a_state_without_ema_is_refused():
    tx = optax.sgd(0.1)
    for decay in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"ema_decay: expected \[0, 1\), got"):
            make_train_step(squares, tx, ema_decay=decay)
    step = make_train_step(squares, tx, ema_decay=0.9)
    with pytest.raises(ValueError, match="state: expected one with an EMA of the par"):
        step(init_state(params(), tx), data(), jax.random.key(0))


@pytest.mark.parametrize("parts", [1, 3])
def test_two_devices_give_the_numbers_of_one(parts):
    tx = OPTIMISERS["adam, clipped"]()
    mesh = make_mesh(2)
    one, metrics = run(tx)
    two, two_metrics = run(
        tx,
        batches=lambda index: make_global_batch(data(index), mesh),
        place=lambda state: replicate(state, mesh),
        accumulation_steps=parts,
        state_sharding=replicated_sharding(mesh),
    )
    assert two.params["w"].sharding == replicated_sharding(mesh)
    chex.assert_trees_all_close(
        jax.device_get(two), jax.device_get(one), rtol=1e-5, atol=1e-6
    )
    chex.assert_trees_all_close(two_metrics, metrics, rtol=1e-5)


@each_optimiser
def test_a_batch_of_padding_changes_only_the_step(tx):
    before, _ = run(tx, steps=2, accumulation_steps=2)
    after, metrics = run(
        tx,
        steps=3,
        batches=lambda index: data(index, weight=0.0 if index == 2 else None),
        accumulation_steps=2,
    )
    chex.assert_trees_all_equal(after.params, before.params)
    chex.assert_trees_all_equal(after.opt_state, before.opt_state)
    assert int(after.step) == 3
    assert metrics[2] == {"loss": 0, "grad_norm": 0, "tokens": 0, "skipped": 1}


@each_optimiser
def test_a_step_compiles_once(tx):
    chex.clear_trace_counter()
    step = make_train_step(chex.assert_max_traces(squares, n=1), tx)
    state = init_state(params(), tx)
    for index in range(3):
        state, _ = step(state, data(index), jax.random.key(0))


@each_optimiser
def test_the_state_keeps_its_dtypes_and_shapes(tx):
    start = init_state(params(), tx)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), start)
    state, _ = run(tx, steps=2)
    chex.assert_trees_all_equal(
        jax.tree.map(lambda x: (x.shape, x.dtype), state), shapes
    )


def test_bfloat16_parameters_accumulate_gradients_and_ema_in_float32():
    half = {name: x.astype(jnp.bfloat16) for name, x in params().items()}

    def loss_fn(params, batch, rng):
        params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
        return squares(params, batch, rng)

    loss, grads = accumulate_gradients(
        loss_fn, half, data(), jax.random.key(0), accumulation_steps=3
    )
    assert {x.dtype for x in jax.tree.leaves((loss, grads))} == {jnp.dtype("float32")}
    tx = optax.sgd(0.1)
    step = make_train_step(loss_fn, tx, accumulation_steps=3, ema_decay=0.9)
    state, metrics = step(init_state(half, tx, ema=True), data(), jax.random.key(0))
    assert state.params["w"].dtype == jnp.bfloat16
    assert state.ema["w"].dtype == metrics["grad_norm"].dtype == jnp.float32


def test_num_tokens_may_be_an_integer():
    loss = lambda params, batch, rng: Loss(  # noqa: E731
        jnp.square(params["w"]).sum(), jnp.int32(7)
    )
    tx = optax.sgd(0.1)
    step = make_train_step(loss, tx)
    _, metrics = step(init_state(params(), tx), data(), jax.random.key(0))
    np.testing.assert_allclose(metrics["loss"], D * E * 0.25 / 7, rtol=1e-6)
    assert metrics["tokens"] == 7


def test_the_random_key_depends_on_the_step_alone():
    def draw(params, batch, rng):
        return Loss(jax.random.uniform(rng) + 0 * params["w"].sum(), jnp.float32(1))

    tx = optax.sgd(0.1)
    step = make_train_step(draw, tx)
    state = init_state(params(), tx)
    rng = jax.random.key(5)
    for index in range(3):
        state, metrics = step(state, data(), rng)
        want = jax.random.uniform(jax.random.fold_in(rng, index))
        np.testing.assert_allclose(metrics["loss"], want, rtol=1e-6)


def test_microbatches_draw_different_numbers():
    def draw(params, batch, rng):
        total = jax.random.uniform(rng) + 0 * params["w"].sum()
        return Loss(jnp.square(total), jnp.float32(1))

    loss, _ = accumulate_gradients(
        draw, params(), data(), jax.random.key(5), accumulation_steps=2
    )
    draws = [
        jax.random.uniform(jax.random.fold_in(jax.random.key(5), k)) for k in (0, 1)
    ]
    np.testing.assert_allclose(loss.total, sum(x**2 for x in draws), rtol=1e-6)


def test_the_callers_parameters_survive_a_donated_state():
    mine, tx = params(), optax.sgd(0.1)
    make_train_step(squares, tx)(init_state(mine, tx), data(), jax.random.key(0))
    np.testing.assert_array_equal(mine["w"], np.full((D, E), 0.5))


def test_a_step_with_a_gradient_that_is_not_finite_is_skipped():
    tx = OPTIMISERS["adam, clipped"]()

    def poisoned(index):
        nan = {"x": np.full((B, D), np.nan, np.float32)}
        return data(index) | (nan if index == 2 else {})

    before, _ = run(tx, steps=2)
    after, metrics = run(tx, steps=3, batches=poisoned, skip_nonfinite=True)
    chex.assert_trees_all_equal(after.params, before.params)
    chex.assert_trees_all_equal(after.opt_state, before.opt_state)
    assert metrics[2]["skipped"] == 1
    _, metrics = run(tx, steps=3, batches=poisoned)
    assert metrics[2]["skipped"] == 0
    assert np.isnan(metrics[2]["grad_norm"])


def test_gradient_accumulation_composes_with_pmap():
    full, grads = accumulate_gradients(squares, params(), data(), jax.random.key(0))

    def mean_gradient(params, batch):
        loss, grads = accumulate_gradients(squares, params, batch, jax.random.key(0))
        loss, grads = jax.lax.psum((loss, grads), "devices")
        return loss, jax.tree.map(lambda g: g / loss.num_tokens, grads)

    halves = jax.tree.map(lambda x: x.reshape(2, B // 2, *x.shape[1:]), data())
    loss, mean = jax.pmap(mean_gradient, axis_name="devices", in_axes=(None, 0))(
        params(), halves
    )
    for device in range(2):
        chex.assert_trees_all_close(
            jax.tree.map(lambda x, d=device: x[d], (loss, mean)),
            (full, jax.tree.map(lambda g: g / full.num_tokens, grads)),
            rtol=1e-5,
        )


def test_a_step_of_gradient_descent_matches_a_loop_in_float64():
    batch, rate = data(), 0.1
    w, b = np.full((D, E), 0.5), np.zeros(E)
    total, count = 0.0, 0.0
    dw, db = np.zeros_like(w), np.zeros_like(b)
    for x, y, weight in zip(batch["x"], batch["y"], batch["weight"], strict=True):
        error = x.astype(np.float64) @ w + b - y
        total, count = total + weight * error @ error, count + weight
        dw, db = dw + 2 * weight * np.outer(x, error), db + 2 * weight * error
    dw, db = dw / count, db / count
    state, metrics = run(optax.sgd(rate), steps=1)
    np.testing.assert_allclose(state.params["w"], w - rate * dw, rtol=1e-5)
    np.testing.assert_allclose(state.params["b"], b - rate * db, rtol=1e-5)
    np.testing.assert_allclose(metrics[0]["loss"], total / count, rtol=1e-5)
    np.testing.assert_allclose(metrics[0]["tokens"], count)
    norm = np.sqrt((dw**2).sum() + (db**2).sum())
    np.testing.assert_allclose(metrics[0]["grad_norm"], norm, rtol=1e-5)


def test_grad_norm_is_taken_before_clipping():
    clipped = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(0.1))
    _, metrics = run(clipped, steps=1)
    _, free = run(optax.sgd(0.1), steps=1)
    np.testing.assert_allclose(metrics[0]["grad_norm"], free[0]["grad_norm"], rtol=1e-6)


EXTRA = {  # optimisers that take the value, or evaluate the loss themselves
    "lbfgs": lambda: optax.lbfgs(0.5),
    "polyak_sgd": lambda: optax.polyak_sgd(),
    "reduce_on_plateau": lambda: optax.chain(
        optax.sgd(0.05), optax.contrib.reduce_on_plateau(patience=1)
    ),
    "momo": lambda: optax.contrib.momo(),
}


@pytest.mark.parametrize("accumulation_steps", [1, 3])
@pytest.mark.parametrize("name", EXTRA)
def test_optimisers_with_extra_arguments_learn(name, accumulation_steps):
    """They are given the mean loss, its gradient, and the loss as a function."""
    tx = EXTRA[name]()
    step = make_train_step(squares, tx, accumulation_steps=accumulation_steps)
    state, losses, batch = init_state(params(), tx), [], data(weight=1)
    for _ in range(6):
        state, metrics = step(state, batch, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    assert step._cache_size() == 1


def test_rows_that_do_not_divide_are_refused():
    step = make_train_step(squares, optax.sgd(0.1), accumulation_steps=5)
    with pytest.raises(
        ValueError,
        match="batch: expected a multiple of accumulation_steps = 5 rows, got 12",
    ):
        step(init_state(params(), optax.sgd(0.1)), data(), jax.random.key(0))


def test_zero_accumulation_steps_are_refused():
    with pytest.raises(
        ValueError, match="accumulation_steps: expected at least 1, got 0"
    ):
        make_train_step(squares, optax.sgd(0.1), accumulation_steps=0)


def test_a_loss_function_must_return_a_loss():
    bad = lambda params, batch, rng: params["w"].sum()  # noqa: E731
    with pytest.raises(
        TypeError, match=r"loss_fn: expected it to return a Loss\(total"
    ):
        accumulate_gradients(bad, params(), data(), jax.random.key(0))


def test_a_loss_per_row_is_told_to_sum():
    bad = lambda params, batch, rng: Loss(  # noqa: E731
        batch["x"] @ params["w"], batch["weight"].sum()
    )
    with pytest.raises(
        ValueError, match=r"loss_fn: expected a scalar total, got shape \[12, 3\] \(sum"
    ):
        accumulate_gradients(bad, params(), data(), jax.random.key(0))
