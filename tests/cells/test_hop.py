"""The hop of memory networks against the paper's loop, in value and gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.cells.hop import HopParams, hop
from attnjax.core import weights
from attnjax.core.attend import Memory
from tests import oracle_memory, oracles
from tests.core.cases import draw

S, D = 7, 5
MASK = np.array([True, True, False, True, True, False, True])
INPUTS = {"query": draw(0, D), "keys": draw(1, S, D), "values": draw(2, S, D)}
MATRIX = draw(3, D, D)
WEIGHTINGS = {
    "softmax": weights.masked_softmax,
    "hardmax": weights.hardmax,
    "linear": weights.unnormalised,
}


def ours(inputs, matrix, weighting, **options):
    memory = Memory(inputs["keys"], inputs["values"], jnp.asarray(MASK))
    params = HopParams(None if matrix is None else jnp.asarray(matrix).T)
    return hop(params, inputs["query"], memory=memory, weighting=weighting, **options)


@pytest.mark.parametrize("matrix", [None, MATRIX], ids=["adjacent", "layer-wise"])
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_hop_is_the_papers_in_value_and_gradient(name, matrix):
    def loop(inputs):
        keys, values = inputs["keys"], inputs["values"]
        return oracle_memory.hop(inputs["query"], keys, values, MASK, name, matrix)

    along = np.cos(np.arange(D))
    with jax.enable_x64(True):
        given = {k: jnp.asarray(x) for k, x in INPUTS.items()}
        query, read = ours(given, matrix, WEIGHTINGS[name])
        slope = jax.grad(lambda x: ours(x, matrix, WEIGHTINGS[name])[0] @ along)(given)
    want, p = loop(INPUTS)
    np.testing.assert_allclose(query, want, rtol=1e-12)
    np.testing.assert_allclose(read.weights, p, rtol=1e-12)
    np.testing.assert_allclose(read.context, p @ INPUTS["values"], rtol=1e-12)
    slow = oracles.numerical_gradients(lambda x: float(loop(x)[0] @ along), INPUTS)
    for k in INPUTS:
        np.testing.assert_allclose(slope[k], slow[k], rtol=1e-6, atol=1e-8)


def test_hops_are_the_same_hop_again():
    """As a scan and under vmap: a hop is a cell."""
    memory = Memory(*(jnp.float32(INPUTS[k]) for k in ("keys", "values")), MASK)
    step = partial(hop, HopParams(), memory=memory)
    query = jnp.float32(INPUTS["query"])
    last, reads = jax.lax.scan(lambda u, _: step(u), query, length=3)
    u = INPUTS["query"]
    for k in range(3):
        u, p = oracle_memory.hop(u, INPUTS["keys"], INPUTS["values"], MASK)
        np.testing.assert_allclose(reads.weights[k], p, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(last, u, rtol=1e-4)
    batch = jax.vmap(step)(jnp.stack([query, query * 0]))
    np.testing.assert_allclose(batch[0][0], step(query)[0], rtol=1e-5)


def test_masked_memories_have_no_weight_and_an_empty_memory_adds_nothing():
    poisoned = np.where(MASK[:, None], INPUTS["values"], 1e6)
    given = {k: jnp.float32(x) for k, x in (INPUTS | {"values": poisoned}).items()}
    for weighting in WEIGHTINGS.values():
        query, read = ours(given, None, weighting)
        assert not read.weights[~MASK].any()
        assert abs(query).max() < 1e4
    nothing = Memory(given["keys"], given["values"], jnp.zeros(S, bool))
    query, read = hop(HopParams(), given["query"], memory=nothing)
    assert query.tolist() == given["query"].tolist()
    assert not read.weights.any()


def test_an_activation_is_applied_to_the_next_query():
    given = {k: jnp.float32(x) for k, x in INPUTS.items()}
    plain, _ = ours(given, None, weights.masked_softmax)
    rectified, _ = ours(given, None, weights.masked_softmax, activation=jax.nn.relu)
    assert rectified.tolist() == jnp.maximum(plain, 0).tolist()


def test_bad_shapes_are_told():
    given = {k: jnp.float32(x) for k, x in INPUTS.items()} | {"query": jnp.ones((2, D))}
    with pytest.raises(ValueError, match=r"^query: expected shape \[D\], got \[2, 5\]"):
        ours(given, None, weights.masked_softmax)
