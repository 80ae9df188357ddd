"""The searching decoder, with every alignment, against the papers' loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.cells.aligners import ALIGNERS, Sizes
from attnjax.cells.gru import gru_inputs
from attnjax.cells.rnnsearch import RNNSearchState, initial_carry, rnnsearch
from attnjax.core.attend import Memory
from tests import oracles
from tests.arg_specs import TINY_DECODER
from tests.cells.papers import (
    alignment_shapes,
    draw_dict,
    gru_shapes,
    rnnsearch_params,
)
from tests.cells.weighing import WEIGH
from tests.core.cases import draw
from tests.oracle_models import part

_, S, T, D, M, E, A, *_ = TINY_DECODER
PAPER = draw_dict(0, gru_shapes(M, D, E, "decoder.") | alignment_shapes(D, E, A))
STATE, VALUES, XS = draw(70, D), draw(71, S, E), draw(72, T, M)
PAD = 2  # further keys, poisoned
each_alignment = pytest.mark.parametrize("name", ALIGNERS)


def _ours(p, state, values, xs, name):
    """All steps of one sentence, its memory padded with 1e6."""
    params, alignment = rnnsearch_params(p, name), ALIGNERS[name]
    values = jnp.concatenate([values, jnp.full((PAD, E), 1e6, values.dtype)])
    keys = alignment.keys(params.alignment, values)
    memory = Memory(keys, values, jnp.arange(S + PAD) < S)
    cell = partial(rnnsearch, params, memory=memory, alignment=alignment)
    return jax.lax.scan(cell, initial_carry(state), gru_inputs(params.gru, xs))


def _paper(p, state, values, xs, name):
    """The same by the loops: last state, and hidden, context, weights by step."""
    reads = []
    for i, x in enumerate(xs):
        weights = WEIGH[name](p, i, state, values)
        context = oracles.read(weights, values)
        reads.append((state, context, weights))
        state = oracles.gru(part(p, "decoder"), state, ("W", x), ("C", context))
    return state, reads


def _objective(state, contexts):
    E = contexts.shape[-1]
    return state @ np.cos(np.arange(1.0 * D)) + (contexts @ np.sin(np.arange(E))).sum()


def test_every_alignment_has_its_loop():
    assert ALIGNERS.keys() == WEIGH.keys()


@each_alignment
def test_all_steps_are_the_papers(name):
    with jax.enable_x64(True):
        got = _ours(PAPER, STATE, VALUES, XS, name)
        last, read = jax.tree.map(np.asarray, got)
    state, reads = _paper(PAPER, STATE, VALUES, XS, name)
    np.testing.assert_allclose(last.hidden, state, rtol=1e-11)
    assert last.position == T
    hidden, contexts, weights = map(np.array, zip(*reads, strict=True))
    np.testing.assert_allclose(read.hidden, hidden, rtol=1e-11)
    np.testing.assert_allclose(read.context, contexts, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(read.weights[:, :S], weights, rtol=1e-10, atol=1e-14)
    assert (read.weights[:, S:] == 0).all()


@each_alignment
def test_the_gradient_is_the_papers(name):
    def ours(p, state, values, xs):
        last, read = _ours(p, state, values, xs, name)
        return _objective(last.hidden, read.context)

    def paper(p, state, values, xs):
        state, reads = _paper(p, state, values, xs, name)
        return _objective(state, np.array([context for _, context, _ in reads]))

    arrays = {"state": STATE, "values": VALUES, "xs": XS}
    with jax.enable_x64(True):
        slopes = jax.jit(jax.grad(ours, (0, 1, 2, 3)))(PAPER, *arrays.values())
    want = oracles.numerical_gradients(lambda p: paper(p, **arrays), PAPER)
    want |= oracles.numerical_gradients(lambda a: paper(PAPER, **a), arrays)
    got = slopes[0] | dict(zip(arrays, slopes[1:], strict=True))
    for key, slope in want.items():
        np.testing.assert_allclose(got[key], slope, rtol=1e-6, atol=1e-8, err_msg=key)


@each_alignment
def test_a_sentence_without_words_is_read_as_nothing(name):
    alignment = ALIGNERS[name]
    params = jax.tree.map(lambda x: x.astype("float32"), rnnsearch_params(PAPER, name))
    values = jnp.asarray(VALUES, "float32")
    keys = alignment.keys(params.alignment, values)
    memory = Memory(keys, values, jnp.zeros(S, bool))
    state = initial_carry(jnp.asarray(STATE, "float32"))
    with jax.debug_nans(True):
        _, read = rnnsearch(
            params, state, jnp.ones(3 * D), memory=memory, alignment=alignment
        )
    assert not read.context.any()
    assert not read.weights.any()


@each_alignment
def test_initial_parameters_fit_the_cell(name):
    def normal(rng, shape):
        return jax.random.normal(rng, shape)

    class Draw:
        alignment = matrix = vector = staticmethod(normal)

    with jax.enable_x64(True):
        params = rnnsearch_params(PAPER, name)
    rng = jax.random.key(0)
    drawn = ALIGNERS[name].init(rng, Sizes(D=D, E=E, A=A), Draw)
    shapes = [x.shape for x in jax.tree.leaves(drawn)]
    assert shapes == [x.shape for x in jax.tree.leaves(params.alignment)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@each_alignment
def test_the_dtype_of_the_inputs_is_kept(name, dtype):
    p = jax.tree.map(lambda x: x.astype(dtype), PAPER)
    arrays = [jnp.asarray(x, dtype) for x in (STATE, VALUES, XS)]
    last, read = jax.eval_shape(partial(_ours, name=name), p, *arrays)
    assert {x.dtype for x in (last.hidden, *read)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_cursor_counts_beyond_what_bfloat16_can(dtype):
    """In bfloat16 256 + 1 is 256: a cursor kept in it would stop there."""
    S = 600
    values = jnp.zeros((S, E), dtype)
    memory = Memory(values[:, :1], values, jnp.ones(S, bool))
    params = jax.tree.map(
        lambda x: x.astype(dtype), rnnsearch_params(PAPER, "diagonal")
    )
    cell = partial(rnnsearch, params, memory=memory, alignment=ALIGNERS["diagonal"])
    inputs = jnp.zeros((S - 1, 3 * D), dtype)
    _, read = jax.lax.scan(cell, initial_carry(jnp.zeros(D, dtype)), inputs)
    np.testing.assert_array_equal(read.weights.argmax(-1), np.arange(S - 1))
    assert (read.weights.max(-1) == 1).all()


def test_a_wrong_shape_names_the_argument():
    params = jax.tree.map(lambda x: x.astype("float32"), rnnsearch_params(PAPER))
    memory = Memory(jnp.ones((S, A)), jnp.ones((S, E)), jnp.ones(S, bool))
    state, inputs = initial_carry(jnp.ones(D)), jnp.ones(3 * D)

    def call(params=params, state=state, inputs=inputs, memory=memory):
        return rnnsearch(params, state, inputs, memory=memory)

    call()
    with pytest.raises(ValueError, match=r"^carry\.hidden: expected shape .*vmap\)"):
        call(state=RNNSearchState(jnp.ones((2, D)), jnp.zeros(2)))
    with pytest.raises(ValueError, match=r"^inputs: expected shape \[.*9\], got \[5\]"):
        call(inputs=jnp.ones(M))
    with pytest.raises(ValueError, match=r"^memory\.values: expected shape .*\[4, 6\]"):
        call(memory=memory._replace(values=jnp.ones((S - 1, E))))
    with pytest.raises(TypeError, match=r"^memory\.mask: expected a boolean mask"):
        call(memory=memory._replace(mask=jnp.ones(S)))
