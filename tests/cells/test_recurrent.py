"""Recurrent cells as values: laws that every row of the table obeys."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from attnjax.cells.bidirectional import (
    Bidirectional,
    bidirectional_layers,
    init_bidirectional_layers,
)
from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import (
    RECURRENT_CELLS,
    init_layers,
    scan_layers,
    step_layers,
)
from tests.cells.papers import PAPER_CELLS, draw_dict, layer_params, named_shapes
from tests.core.cases import draw
from tests.oracle_models import advance_stack, begin, encode, layers

B, T, M, D = 2, 5, 7, 3
MASK = np.arange(T) < np.array([T, 2])[:, None]
INIT = initializers("glorot")
each_cell = pytest.mark.parametrize("name", RECURRENT_CELLS)


def _keys(seed=0):
    """A stream of random keys, like `nnx.Rngs(0).params`."""
    stream = iter(jax.random.split(jax.random.key(seed), 20))
    return lambda: next(stream)


def _stack(name, num_layers):
    cell = RECURRENT_CELLS[name]
    params = init_layers(_keys(), (M, *[D] * (num_layers - 1)), D, cell, INIT)
    carry = tuple(
        cell.initial_carry(jnp.asarray(draw(10 + i, B, D), "float32"))
        for i in range(num_layers)
    )
    return cell, params, carry


def test_every_cell_has_its_loop():
    assert RECURRENT_CELLS.keys() == PAPER_CELLS.keys()


@each_cell
def test_initial_parameters_fit_the_cell(name):
    cell, params, carry = _stack(name, 1)
    inputs = cell.project_inputs(params[0], jnp.ones((B, M)))
    assert inputs.shape == (B, cell.num_gates * D)
    new, hidden = jax.vmap(partial(cell.step, params[0]))(carry[0], inputs)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, carry[0])
    np.testing.assert_array_equal(cell.hidden(new), hidden)


@each_cell
def test_the_initial_carry_holds_the_hidden_state(name):
    cell, hidden = RECURRENT_CELLS[name], jnp.asarray(draw(0, B, D), "bfloat16")
    carry = cell.initial_carry(hidden)
    np.testing.assert_array_equal(cell.hidden(carry), hidden)
    assert {x.dtype for x in jax.tree.leaves(carry)} == {jnp.dtype("bfloat16")}
    total = sum(float(jnp.abs(x).sum()) for x in jax.tree.leaves(carry))
    assert total == float(jnp.abs(hidden).sum())


def test_the_forget_gate_starts_open():
    params = RECURRENT_CELLS["lstm"].init(jax.random.key(0), M, D, INIT)
    np.testing.assert_array_equal(params.b, [0.0] * D + [1.0] * D + [0.0] * 2 * D)


@each_cell
def test_a_stack_matches_the_loop(name):
    """Two layers, three steps, in float64."""
    cell = RECURRENT_CELLS[name]
    p = draw_dict(
        0,
        named_shapes(name, M, D, prefix="x.") | named_shapes(name, D, D, prefix="x.1."),
    )
    first, xs = draw(20, 2, D), draw(21, 3, M)
    carries = [begin(*pair) for pair in zip(layers(p, "x"), first, strict=True)]
    want = []
    for x in xs:
        carries, hidden = advance_stack(layers(p, "x"), carries, ("W", x))
        want.append(hidden)
    with jax.enable_x64(True):
        params = layer_params(p, "x", name)
        carry = tuple(map(cell.initial_carry, jnp.asarray(first)))
        inputs = cell.project_inputs(params[0], jnp.asarray(xs))
        last, got = lax.scan(partial(step_layers, cell, params), carry, inputs)
    np.testing.assert_allclose(got, want, rtol=1e-11)
    np.testing.assert_allclose(
        np.array(jax.tree.leaves(last)), np.concatenate(carries, None).reshape(-1, D)
    )


@each_cell
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_layer_by_layer_is_step_by_step(name, num_layers):
    """`scan_layers` is `lax.scan` of `step_layers`, in value and gradient."""
    cell, params, carry = _stack(name, num_layers)
    x = jnp.asarray(draw(30, B, T, M), "float32")

    def by_layer(params):
        inputs = cell.project_inputs(params[0], x)
        return scan_layers(cell, params, carry, inputs)

    def by_step(params):
        inputs = cell.project_inputs(params[0], x)
        row = lambda carry, xs: lax.scan(partial(step_layers, cell, params), carry, xs)  # noqa: E731
        return jax.vmap(row)(carry, inputs)

    def objective(run, params):
        last, states = run(params)
        return jnp.sin(states).sum() + sum(x.sum() for x in jax.tree.leaves(last)), (
            last,
            states,
        )

    got, want = (
        jax.grad(partial(objective, run), has_aux=True)(params)
        for run in (by_layer, by_step)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), got, want)


@each_cell
def test_padding_leaves_the_carry_where_it_was(name):
    cell, params, carry = _stack(name, 2)
    x = draw(40, B, T, M)
    x[~MASK] = 1e6
    inputs = cell.project_inputs(params[0], jnp.asarray(x, "float32"))
    last, states = scan_layers(cell, params, carry, inputs, mask=jnp.asarray(MASK))
    assert (np.asarray(states)[~MASK] == 0).all()
    short = scan_layers(
        cell, params, jax.tree.map(lambda c: c[1:], carry), inputs[1:, :2]
    )
    row = jax.tree.map(lambda c: c[1:], last)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), row, short[0]
    )


@each_cell
def test_a_bidirectional_stack_matches_the_loop(name):
    """Layer 1 takes both directions of layer 0; padded with 1e6."""
    cell = RECURRENT_CELLS[name]
    shapes = {"E_x": (11, M)}
    for direction in ("forward.", "backward."):
        shapes |= named_shapes(name, M, D, prefix=direction)
        shapes |= named_shapes(name, 2 * D, D, prefix=direction + "1.")
    p = draw_dict(0, shapes)
    with jax.enable_x64(True):
        params = tuple(
            Bidirectional(*pair)
            for pair in zip(
                layer_params(p, "forward", name),
                layer_params(p, "backward", name),
                strict=True,
            )
        )
        ids = np.array([[5, 9, 3, 7, 2], [4, 2, 0, 0, 0]])
        x = p["E_x"][ids]
        x[~MASK] = 1e6
        mask = jnp.asarray(MASK)
        got = np.asarray(bidirectional_layers(cell, params, jnp.asarray(x), mask=mask))
    for row, source, length in zip(got, ids, MASK.sum(1), strict=True):
        np.testing.assert_allclose(row[:length], encode(p, source[:length]), rtol=1e-11)
        assert (row[length:] == 0).all()


@each_cell
def test_bidirectional_parameters_fit_the_stack(name):
    cell = RECURRENT_CELLS[name]
    params = init_bidirectional_layers(_keys(), M, D, 3, cell, INIT)
    states = bidirectional_layers(cell, params, jnp.ones((B, T, M)))
    assert states.shape == (B, T, 2 * D)


def test_dropout_is_between_layers_only():
    cell, params, carry = _stack("gru", 2)
    x = jnp.asarray(draw(50, B, T, M), "float32")
    inputs = cell.project_inputs(params[0], x)

    def run(num_layers, rngs):
        of = params[:num_layers], carry[:num_layers]
        return scan_layers(cell, *of, inputs, rngs=rngs, dropout_rate=0.5)[1]

    both = init_bidirectional_layers(_keys(), M, D, 2, cell, INIT)

    def run_both(num_layers, rngs):
        layers = both[:num_layers]
        return bidirectional_layers(cell, layers, x, rngs=rngs, dropout_rate=0.5)

    rngs = [jax.random.key(3)]
    for f in (run, run_both):
        np.testing.assert_array_equal(f(1, rngs), f(1, []))
        assert not np.allclose(f(2, rngs), f(2, []), 1e-3)
