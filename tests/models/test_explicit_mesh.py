"""Models under a mesh with explicit axes, JAX's default, give one device's numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import attnjax as aj
from tests.models.test_options import BLOCK, SMALL, B, T, V

pytestmark = pytest.mark.versions

CONFIGS = {
    "GPT": SMALL["GPT"],
    "Transformer": dataclasses.replace(
        SMALL["Transformer"],
        block=dataclasses.replace(BLOCK, position_embedding="relative"),
    ),
    "RNNSearch": dataclasses.replace(
        SMALL["RNNSearch"], cell="lstm", num_layers=2, aligner="location"
    ),
    "RNNEncoderDecoder": SMALL["RNNEncoderDecoder"],
    "MarginalCursor": SMALL["MarginalCursor"],
    "Seq2Seq": SMALL["Seq2Seq"],
}


def run(kind, put, params, rebuild):
    """Logits, parameters after a training step, its loss, and logits of a step."""
    rng = np.random.default_rng(3)
    source, target = (rng.integers(0, V, (B, n)).astype(np.int32) for n in (5, T))
    mask = np.arange(5) < np.array([[3], [5]])
    batch = tuple(map(put, (source, mask, target)))

    def inputs(batch):
        return batch[2:] if kind == "GPT" else batch

    def loss_fn(params, batch, rng):
        model = rebuild(params)
        if kind == "GPT":
            features, _ = model.features(*inputs(batch))
            weights = jnp.ones((B, T))
            total = aj.linear_cross_entropy(features, *model.output, batch[2], weights)
        else:
            given = *batch, batch[2], batch[2] >= 0
            total = model.cross_entropy(*given)
        return aj.train.Loss(total, jnp.asarray(B * T))

    @jax.jit
    def logits(params, batch):
        model, (source, mask, target) = rebuild(params), batch
        whole, _ = model(*inputs(batch))
        if kind == "GPT":
            carry, _ = model.prefill(model.start(B), target)
            return whole, model.step(carry, target[:, 0])[1]
        memory = model.encode(source, mask)
        carry, _, _ = model.step(memory, model.start(memory), target[:, 0])
        return whole, model.step(memory, carry, target[:, 1])[1]

    tx = optax.sgd(0.1)
    step = aj.train.make_train_step(loss_fn, tx)
    state, metrics = step(aj.train.init_state(params, tx), batch, jax.random.key(0))
    return jax.device_get((logits(params, batch), state.params, metrics["loss"]))


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_explicit_mesh_gives_the_numbers_of_one_device(kind):
    rebuild, params = aj.split(getattr(aj, kind)(CONFIGS[kind], rngs=nnx.Rngs(0)))
    want = run(kind, jnp.asarray, params, rebuild)
    mesh = jax.make_mesh((B,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        rows, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
        params = jax.device_put(params, everywhere)
        got = run(kind, lambda x: jax.device_put(x, rows), params, rebuild)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want
    )


def test_results_are_sharded_as_the_tokens_are():
    model = aj.GPT(SMALL["GPT"], rngs=nnx.Rngs(0))
    mesh = jax.make_mesh((B,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        rebuild, params = aj.split(model)
        params = jax.device_put(params, NamedSharding(mesh, P()))
        tokens = jax.device_put(jnp.ones((B, T), int), NamedSharding(mesh, P("data")))
        logits, weights = jax.jit(lambda p, t: rebuild(p)(t))(params, tokens)
    assert logits.sharding.spec[0] == weights.sharding.spec[0] == "data"
