"""The decoder cell of RNNSearch, with every aligner, against the papers' loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.cells.aligners import ALIGNERS, Sizes, location_aware, soft_window
from attnjax.cells.gru import gru_inputs
from attnjax.cells.initializers import initializers
from attnjax.cells.rnnsearch import initial_carry, rnnsearch
from attnjax.core.attend import Memory
from tests import oracles
from tests.arg_specs import TINY_DECODER
from tests.cells.papers import (
    aligner_shapes,
    draw_dict,
    gru_shapes,
    rnnsearch_params,
)
from tests.cells.weighing import WEIGH
from tests.core.cases import draw
from tests.oracle_models import part

_, S, T, D, M, E, A, *_ = TINY_DECODER
PAPER = draw_dict(0, gru_shapes(M, D, E, "decoder.") | aligner_shapes(D, E, A))
STATE, VALUES, XS = draw(70, D), draw(71, S, E), draw(72, T, M)
PAD = 2  # further keys, poisoned
# With the sizes of `aligner_shapes`, where an aligner has sizes of its own.
SMALL_ALIGNERS = ALIGNERS | {
    "location": location_aware(num_filters=2, filter_width=5),
    "window": soft_window(num_gaussians=2),
}
each_aligner = pytest.mark.parametrize("name", ALIGNERS)


def _ours(p, state, values, xs, name):
    """All steps of one sentence, its memory padded with 1e6."""
    params, aligner = rnnsearch_params(p, name), ALIGNERS[name]
    values = jnp.concatenate([values, jnp.full((PAD, E), 1e6, values.dtype)])
    keys = aligner.project_keys(params.aligner, values)
    memory = Memory(keys, values, jnp.arange(S + PAD) < S)
    cell = partial(rnnsearch, params, memory=memory, aligner=aligner)
    first = initial_carry(params, [state], memory, aligner=aligner)
    return jax.lax.scan(cell, first, gru_inputs(params.layers[0], xs))


def _paper(p, state, values, xs, name):
    """The same by the loops: last state, and hidden, context, weights by step."""
    outputs, weights = [], None
    for i, x in enumerate(xs):
        weights = WEIGH[name](p, i, state, values, weights)
        context = oracles.read(weights, values)
        outputs.append((state, context, weights))
        state = oracles.gru(part(p, "decoder"), state, ("W", x), ("C", context))
    return state, outputs


def _objective(state, contexts):
    E = contexts.shape[-1]
    return state @ np.cos(np.arange(1.0 * D)) + (contexts @ np.sin(np.arange(E))).sum()


def test_every_aligner_has_its_loop():
    assert ALIGNERS.keys() == WEIGH.keys()


@each_aligner
def test_all_steps_match_the_paper(name):
    with jax.enable_x64(True):
        got = _ours(PAPER, STATE, VALUES, XS, name)
        last, out = jax.tree.map(np.asarray, got)
    state, outputs = _paper(PAPER, STATE, VALUES, XS, name)
    np.testing.assert_allclose(last.layers[0], state, rtol=1e-11)
    assert last.position == T
    hidden, contexts, weights = map(np.array, zip(*outputs, strict=True))
    np.testing.assert_allclose(out.hidden, hidden, rtol=1e-11)
    np.testing.assert_allclose(out.context, contexts, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(out.weights[:, :S], weights, rtol=1e-10, atol=1e-14)
    assert (out.weights[:, S:] == 0).all()


@each_aligner
def test_the_gradient_matches_the_paper(name):
    def ours(p, state, values, xs):
        last, out = _ours(p, state, values, xs, name)
        return _objective(last.layers[0], out.context)

    def paper(p, state, values, xs):
        state, outputs = _paper(p, state, values, xs, name)
        return _objective(state, np.array([context for _, context, _ in outputs]))

    arrays = {"state": STATE, "values": VALUES, "xs": XS}
    with jax.enable_x64(True):
        gradients = jax.jit(jax.grad(ours, (0, 1, 2, 3)))(PAPER, *arrays.values())
    want = oracles.numerical_gradients(lambda p: paper(p, **arrays), PAPER)
    want |= oracles.numerical_gradients(lambda a: paper(PAPER, **a), arrays)
    got = gradients[0] | dict(zip(arrays, gradients[1:], strict=True))
    for key, gradient in want.items():
        np.testing.assert_allclose(
            got[key], gradient, rtol=1e-6, atol=1e-8, err_msg=key
        )


@each_aligner
def test_an_empty_source_has_weights_of_zero(name):
    aligner = ALIGNERS[name]
    params = jax.tree.map(lambda x: x.astype("float32"), rnnsearch_params(PAPER, name))
    values = jnp.asarray(VALUES, "float32")
    keys = aligner.project_keys(params.aligner, values)
    memory = Memory(keys, values, jnp.zeros(S, bool))
    hidden = [jnp.asarray(STATE, "float32")]
    with jax.debug_nans(True):
        state = initial_carry(params, hidden, memory, aligner=aligner)
        _, out = rnnsearch(
            params, state, jnp.ones(3 * D), memory=memory, aligner=aligner
        )
    assert not out.context.any()
    assert not out.weights.any()


@each_aligner
def test_initial_parameters_fit_the_cell(name):
    with jax.enable_x64(True):
        params = rnnsearch_params(PAPER, name)
    rng = jax.random.key(0)
    sizes, init = Sizes(D=D, E=E, A=A), initializers("glorot")
    drawn = SMALL_ALIGNERS[name].init(rng, sizes, init)
    shapes = [x.shape for x in jax.tree.leaves(drawn)]
    assert shapes == [x.shape for x in jax.tree.leaves(params.aligner)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@each_aligner
def test_the_dtype_of_the_inputs_is_kept(name, dtype):
    p = jax.tree.map(lambda x: x.astype(dtype), PAPER)
    arrays = [jnp.asarray(x, dtype) for x in (STATE, VALUES, XS)]
    last, out = jax.eval_shape(partial(_ours, name=name), p, *arrays)
    assert {x.dtype for x in (last.layers[0], *out)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_cursor_counts_beyond_what_bfloat16_can(dtype):
    """In bfloat16 256 + 1 is 256: a cursor kept in it would stop there."""
    S = 600
    values = jnp.zeros((S, E), dtype)
    memory = Memory(values[:, :1], values, jnp.ones(S, bool))
    params = jax.tree.map(
        lambda x: x.astype(dtype), rnnsearch_params(PAPER, "diagonal")
    )
    aligner = ALIGNERS["diagonal"]
    cell = partial(rnnsearch, params, memory=memory, aligner=aligner)
    first = initial_carry(params, [jnp.zeros(D, dtype)], memory, aligner=aligner)
    _, out = jax.lax.scan(cell, first, jnp.zeros((S - 1, 3 * D), dtype))
    np.testing.assert_array_equal(out.weights.argmax(-1), np.arange(S - 1))
    assert (out.weights.max(-1) == 1).all()


def test_location_starts_on_the_first_position_and_carries_its_weights():
    aligner = ALIGNERS["location"]
    with jax.enable_x64(True):
        last, out = _ours(PAPER, STATE, VALUES, XS, "location")
        params = rnnsearch_params(PAPER, "location")
    np.testing.assert_array_equal(last.aligner, out.weights[-1])
    memory = Memory(jnp.ones((S, A)), jnp.ones((S, E)), jnp.arange(S) < 2)
    first = aligner.initial_carry(params.aligner, memory)
    np.testing.assert_array_equal(first, np.eye(S)[0])


def test_a_batch_of_carries_has_a_leading_axis_in_every_leaf():
    """Beams reorder the leading axis of every leaf."""
    B = 2
    for name, aligner in ALIGNERS.items():
        params = jax.tree.map(
            lambda x: x.astype("float32"), rnnsearch_params(PAPER, name)
        )
        values = jnp.ones((B, S, E))
        keys = aligner.project_keys(params.aligner, values)
        memory = Memory(keys, values, jnp.ones((B, S), bool))
        begin = jax.vmap(partial(initial_carry, params, aligner=aligner))
        carry = begin([jnp.ones((B, D))], memory)
        assert {x.shape[0] for x in jax.tree.leaves(carry)} == {B}


def test_a_wrong_shape_names_the_argument():
    params = jax.tree.map(lambda x: x.astype("float32"), rnnsearch_params(PAPER))
    memory = Memory(jnp.ones((S, A)), jnp.ones((S, E)), jnp.ones(S, bool))
    state = initial_carry(params, [jnp.ones(D)], memory)
    inputs = jnp.ones(3 * D)

    def call(params=params, state=state, inputs=inputs, memory=memory):
        return rnnsearch(params, state, inputs, memory=memory)

    call()
    with pytest.raises(ValueError, match=r"^carry\.position: expected .*\[2\].*vmap\)"):
        call(state=state._replace(position=jnp.zeros(2, int)))
    with pytest.raises(ValueError, match=r"^query: expected shape \[A\], .*vmap\)"):
        call(state=state._replace(layers=(jnp.ones((2, D)),)))
    with pytest.raises(ValueError, match=r"^inputs: expected shape \[.*9\], got \[5\]"):
        call(inputs=jnp.ones(M))
    with pytest.raises(ValueError, match=r"^memory\.values: expected shape .*\[4, 6\]"):
        call(memory=memory._replace(values=jnp.ones((S - 1, E))))
    with pytest.raises(TypeError, match=r"^memory\.mask: expected a boolean mask"):
        call(memory=memory._replace(mask=jnp.ones(S)))
