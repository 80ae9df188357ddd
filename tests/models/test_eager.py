"""Code that is not jitted, as in notebooks, compiles once per shape."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import attnjax as aj
from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import GRU
from attnjax.decode.logits_processors import warp_logits
from tests.models.test_options import SMALL, B, S, T, V

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture(scope="module")
def models():
    return {kind: getattr(aj, kind)(SMALL[kind], rngs=nnx.Rngs(0)) for kind in SMALL}


def compilations(function):
    """How many programs a call compiles."""
    count = [0]

    def listener(event, seconds, **_):
        count[0] += event == COMPILED

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        jax.block_until_ready(function())
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    return count[0]


def test_compilations_are_counted():
    assert compilations(lambda: jax.jit(lambda x: 3 * x)(jnp.ones(7))) > 0


SOURCE, TARGET = jnp.ones((B, S), jnp.int32), jnp.ones((B, T), jnp.int32)
MASK = jnp.ones((B, S), bool)


def gpt_calls(model):
    cache = model.start(B)
    return {
        "call": lambda: model(TARGET),
        "features": lambda: model.features(TARGET),
        "prefill": lambda: model.prefill(cache, TARGET),
        "step": lambda: model.step(cache, TARGET[:, 0]),
    }


def seq2seq_calls(model):
    memory = model.encode(SOURCE, MASK)
    carry = model.start(memory)
    return {
        "call": lambda: model(SOURCE, MASK, TARGET),
        "encode": lambda: model.encode(SOURCE, MASK),
        "step": lambda: model.step(memory, carry, TARGET[:, 0]),
    }


CALLS = {
    "GPT": (gpt_calls, ["call", "features", "prefill", "step"]),
    **dict.fromkeys(
        ("Transformer", "RNNSearch", "RNNEncoderDecoder"),
        (seq2seq_calls, ["call", "encode", "step"]),
    ),
}


@pytest.mark.parametrize(
    ("kind", "name"), [(k, name) for k, (_, names) in CALLS.items() for name in names]
)
def test_a_method_of_a_model_compiles_once(models, kind, name):
    call = CALLS[kind][0](models[kind])[name]
    compilations(call)
    assert compilations(call) == 0


X = jnp.ones((B, T, 3, 4))
CELL = GRU.init(jax.random.key(0), 4, 5, initializers("glorot"))
FUNCTIONS = {
    "attend": lambda: aj.attend(X[0, 0, 0], X[0, :, 0], X[0, :, 0]),
    "attend_heads": lambda: aj.attend_heads(X, X, X),
    "attention_fn": lambda: aj.attention_fn()(X, X, X, is_causal=True),
    "linear_cross_entropy": lambda: aj.linear_cross_entropy(
        X[:, :, 0], jnp.ones((V, 4)), None, TARGET, jnp.ones((B, T))
    ),
    "scan": lambda: aj.scan(
        aj.gru_recur, CELL, jnp.zeros((B, 5)), GRU.project_inputs(CELL, X[:, :, 0])
    ),
    "mlp": lambda: aj.mlp(X[0, 0, 0], jnp.ones((7, 4)), jnp.ones((7, 4))),
    "warp_logits": partial(
        warp_logits,
        X[:, 0, 0],
        temperature=0.5,
        top_k=2,
        top_p=0.9,
        min_p=0.1,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_compiles_once(name):
    compilations(FUNCTIONS[name])
    assert compilations(FUNCTIONS[name]) == 0
