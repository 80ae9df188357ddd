"""The deep stack with skip connections, against the paper's equations 1 to 3."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import RECURRENT_CELLS, scan_layers
from attnjax.cells.skip_layers import (
    SkipLayers,
    init_skip_layers,
    project_skips,
    scan_skip_layers,
    step_skip_layers,
)
from tests.cells.papers import (
    PAPER_CELLS,
    draw_dict,
    layer_params,
    named_shapes,
    side_by_side,
)
from tests.core.cases import draw
from tests.oracle_models import advance, begin, layers

pytestmark = pytest.mark.versions

B, T, M, D, L = 2, 5, 7, 3, 3
each_cell = pytest.mark.parametrize("name", RECURRENT_CELLS)


def _dict(name):
    """The paper's matrices: those of a layer above the bottom have C from the input."""
    shapes = named_shapes(name, M, D, prefix="x.")
    for layer in range(1, L):
        shapes |= named_shapes(name, D, D, context=M, prefix=f"x.{layer}.")
    return draw_dict(0, shapes)


def _params(p, name):
    gates = PAPER_CELLS[name].gates
    above = layers(p, "x")[1:]
    return SkipLayers(
        layer_params(p, "x", name), tuple(side_by_side(q, "C", gates) for q in above)
    )


@each_cell
def test_it_is_the_papers_loop_layer_by_layer_and_step_by_step(name):
    """In float64, one row: W from the layer below, C from the input to each layer."""
    cell, p = RECURRENT_CELLS[name], _dict(name)
    first, xs = draw(20, L, D), draw(21, T, M)
    carries = [begin(*pair) for pair in zip(layers(p, "x"), first, strict=True)]
    want = []
    for x in xs:
        states = []
        for n, q in enumerate(layers(p, "x")):
            inputs = (("W", x),) if n == 0 else (("W", states[-1]), ("C", x))
            carries[n], hidden = advance(q, carries[n], *inputs)
            states.append(hidden)
        want.append(np.concatenate(states))
    with jax.enable_x64(True):
        params = _params(p, name)
        carry = tuple(map(cell.initial_carry, jnp.asarray(first)))
        inputs = project_skips(cell, params, jnp.asarray(xs))
        advance_ = partial(step_skip_layers, cell, params)
        last, got = lax.scan(advance_, carry, inputs)
        row = partial(jax.tree.map, lambda a: a[None])
        whole, states = scan_skip_layers(cell, params, row(carry), row(inputs))
    np.testing.assert_allclose(got, want, rtol=1e-11)
    np.testing.assert_allclose(states[0], want, rtol=1e-11)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-11), whole, last
    )


@each_cell
def test_without_skips_it_is_the_plain_stack(name):
    cell = RECURRENT_CELLS[name]
    keys = iter(jax.random.split(jax.random.key(0), 9))
    params = init_skip_layers(lambda: next(keys), M, D, L, cell, initializers("glorot"))
    assert [w.shape for w in params.w_skip] == [(M, cell.num_gates * D)] * (L - 1)
    carry = (cell.initial_carry(jnp.zeros((B, D))),) * L
    x = jnp.float32(draw(30, B, T, M))
    cut = params._replace(w_skip=tuple(0 * w for w in params.w_skip))
    last, states = scan_skip_layers(cell, cut, carry, project_skips(cell, cut, x))
    inputs = cell.project_inputs(params.layers[0], x)
    want = scan_layers(cell, params.layers, carry, inputs)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), last, want[0])
    np.testing.assert_allclose(states[..., -D:], want[1], rtol=1e-6)


def test_padding_leaves_the_carry_where_it_was():
    cell, params = RECURRENT_CELLS["peephole_lstm"], _dict("peephole_lstm")
    params = jax.tree.map(jnp.float32, _params(params, "peephole_lstm"))
    carry = (cell.initial_carry(jnp.zeros((B, D))),) * L
    x = jnp.float32(draw(40, B, T, M)).at[1, 2:].set(1e6)
    mask = jnp.arange(T) < jnp.array([T, 2])[:, None]
    run = partial(scan_skip_layers, cell, params)
    last, states = run(carry, project_skips(cell, params, x), mask=mask)
    short, _ = run(
        jax.tree.map(lambda c: c[1:], carry), project_skips(cell, params, x[1:, :2])
    )
    assert not np.asarray(states)[1, 2:].any()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1:], b, rtol=1e-5, atol=1e-6),
        last,
        short,
    )


def test_dropout_is_between_layers_and_leaves_the_bottom_layer_alone():
    cell, p = RECURRENT_CELLS["lstm"], _dict("lstm")
    params = jax.tree.map(jnp.float32, _params(p, "lstm"))
    carry = (cell.initial_carry(jnp.zeros((B, D))),) * L
    inputs = project_skips(cell, params, jnp.float32(draw(50, B, T, M)))
    run = partial(scan_skip_layers, cell, params, carry, inputs)
    rngs = list(jax.random.split(jax.random.key(1), L - 1))
    whole, dropped = run()[1], run(rngs=rngs, dropout_rate=0.5)[1]
    np.testing.assert_array_equal(whole[..., :D], dropped[..., :D])
    for n in range(1, L):
        part = slice(n * D, (n + 1) * D)
        assert not np.allclose(whole[..., part], dropped[..., part], 1e-3)
