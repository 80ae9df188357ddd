"""The MLP of a block compiles to the dots of `core.mlp` over all rows."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core.mlp import gated_mlp, mlp
from attnjax.transformer import block
from attnjax.transformer.block import LinearParams, MLPParams
from tests.conftest import TOLERANCE
from tests.core.cases import draw

pytestmark = pytest.mark.versions

B, T, M, F = 3, 5, 7, 11


def parameters(*, gated, dtype):
    bias = not gated  # Shazeer 2020 has none
    shapes = {"up": (M, F), "down": (F, M), **({"gate": (M, F)} if gated else {})}
    made = {
        name: LinearParams(
            jnp.asarray(draw(i, *shape), dtype),
            jnp.asarray(draw(i + 5, shape[1]), dtype) if bias else None,
        )
        for i, (name, shape) in enumerate(shapes.items())
    }
    return MLPParams(made["up"], made["down"], made.get("gate"))


def by_block(params, x):
    return block.mlp(params, x, activation=jax.nn.silu)


def by_core(params, x):
    """One row at a time, mapped over rows: attention to learned keys and values."""
    keys, values = params.up.w.T, params.down.w

    def one(x):
        if params.gate is not None:
            return gated_mlp(x, params.gate.w.T, keys, values)
        return mlp(
            x,
            keys,
            values,
            key_bias=params.up.b,
            value_bias=params.down.b,
            activation=jax.nn.silu,
        )

    # [B, T, M] -> [B*T, M] -> [B, T, M]
    return jax.vmap(one)(x.reshape(-1, M)).reshape(x.shape)


def dots(function, *arguments):
    """How many dots of which result and operand shapes the optimised program has."""
    text = jax.jit(function).lower(*arguments).compile().as_text()
    found = Counter()
    shapes = dict(re.findall(r"%?([\w.-]+) = \w+\[([\d,]*)\]", text))
    for result, operands in re.findall(r"= \w+\[([\d,]*)\]\S* dot\(([^)]*)\)", text):
        names = re.findall(r"%([\w.-]+)", operands)
        # A transposed operand or result is the same dot.
        sizes = [
            tuple(sorted(map(int, shape.split(","))))
            for shape in (result, *(shapes[name] for name in names))
        ]
        found[sizes[0], tuple(sorted(sizes[1:]))] += 1
    return found


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_compile_to_the_same_dots(gated, dtype):
    params = parameters(gated=gated, dtype=dtype)
    x = jnp.asarray(draw(9, B, T, M), dtype)

    def gradients(function):
        return jax.grad(lambda p, x: function(p, x).astype("float32").sum(), (0, 1))

    got, want = dots(by_block, params, x), dots(by_core, params, x)
    assert got == want
    assert sum(got.values()) == (3 if gated else 2)
    got, want = (dots(gradients(f), params, x) for f in (by_block, by_core))
    assert got == want
    # Forward dots but the last (not needed for gradients of a sum), two each backward.
    assert sum(got.values()) == (8 if gated else 5)


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_both_compute_the_same(gated):
    params = parameters(gated=gated, dtype="float32")
    x = jnp.asarray(draw(9, B, T, M), "float32")
    got, want = jax.jit(by_block)(params, x), jax.jit(by_core)(params, x)
    np.testing.assert_allclose(got, want, TOLERANCE["float32"], 1e-5)
