"""The feed-forward network as attention: it is the network, and it costs no more."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import weights
from attnjax.core.attend import attend
from attnjax.core.mlp import elementwise, gated_mlp, mlp
from attnjax.core.scores import dot
from tests.conftest import TOLERANCE
from tests.core.cases import draw
from tests.oracles import numerical_gradients, sigma

M, F, E, ROWS = 5, 7, 3, 11
F32 = TOLERANCE["float32"]
SHAPES = {"x": (M,), "keys": (F, M), "values": (F, E)}
BIASES = {"key_bias": (F,), "value_bias": (E,)}

# activation and the same in float64 NumPy
ACTIVATIONS = {
    "relu": (jax.nn.relu, lambda x: np.maximum(x, 0)),
    "gelu": (
        functools.partial(jax.nn.gelu, approximate=False),
        np.vectorize(lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
    ),
    "tanh": (jnp.tanh, np.tanh),
    "silu": (jax.nn.silu, lambda x: x * sigma(x)),
}
each = pytest.mark.parametrize(
    ("activation", "oracle"), ACTIVATIONS.values(), ids=ACTIVATIONS
)


def inputs(shapes, dtype="float64"):
    return {
        n: np.asarray(draw(i, *s), dtype) for i, (n, s) in enumerate(shapes.items())
    }


def plain(arrays, *, activation):
    """The network of a dict of arrays."""
    a = {name: jnp.asarray(array) for name, array in arrays.items()}
    x, keys, values = (a.pop(name) for name in SHAPES)
    return mlp(x, keys, values, **a, activation=activation)


def matches_with_gradients(ours, oracle, arrays):
    """Holds a function of a dict of arrays to a float64 one, in value and gradient."""
    along = draw(9, E)
    with jax.enable_x64(True):
        got = ours(arrays)
        gradients = jax.grad(lambda a: ours(a) @ along)(
            jax.tree.map(jnp.asarray, arrays)
        )
    np.testing.assert_allclose(got, oracle(arrays), rtol=1e-12, atol=1e-13)
    want = numerical_gradients(lambda a: oracle(a) @ along, arrays)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(
            gradient, want[name], rtol=1e-7, atol=1e-8, err_msg=name
        )


# --- it is the network --------------------------------------------------------


@each
def test_it_is_the_two_layer_network(activation, oracle):
    """Vaswani 2017, eq. 2: W2 a(W1 x + b1) + b2, W1 = keys, W2 = values'."""

    def network(a):
        hidden = oracle(a["keys"] @ a["x"] + a["key_bias"])
        return a["values"].T @ hidden + a["value_bias"]

    ours = functools.partial(plain, activation=activation)
    matches_with_gradients(ours, network, inputs(SHAPES | BIASES))


@each
def test_the_gate_is_the_papers(activation, oracle):
    """Shazeer 2020, eq. 6: W2 (a(W x) * V x)."""

    def network(a):
        gate = oracle(a["gate_keys"] @ a["x"])
        return a["values"].T @ (gate * (a["keys"] @ a["x"]))

    def ours(a):
        in_order = (jnp.asarray(a[n]) for n in ("x", "gate_keys", "keys", "values"))
        return gated_mlp(*in_order, activation=activation)

    matches_with_gradients(ours, network, inputs(SHAPES | {"gate_keys": (F, M)}))


# --- it is attention ----------------------------------------------------------


def test_with_softmax_it_attends_to_slots():
    arrays = inputs(SHAPES | BIASES, "float32")
    got = plain(arrays, activation=jax.nn.softmax)
    x, keys, values, key_bias, value_bias = map(jnp.asarray, arrays.values())
    want = attend(
        x, keys, values, bias=key_bias, score=dot, weighting=weights.masked_softmax
    )
    np.testing.assert_allclose(got, want.context + value_bias, rtol=F32)


@each
def test_slots_are_weighed_by_themselves(activation, oracle):
    """Their order does not count, and parts of the network add up to the whole."""
    del oracle
    x, keys, values = map(jnp.asarray, inputs(SHAPES, "float32").values())
    whole = mlp(x, keys, values, activation=activation)
    order = np.array([3, 0, 6, 4, 1, 5, 2])
    moved = mlp(x, keys[order], values[order], activation=activation)
    np.testing.assert_allclose(moved, whole, F32, 1e-6)
    parts = [
        mlp(x, keys[part], values[part], activation=activation)
        for part in (slice(0, 3), slice(3, F))
    ]
    np.testing.assert_allclose(sum(parts), whole, F32, 1e-6)


# --- a weighting of its own ---------------------------------------------------

MASK = np.array([True, False, True, True, False, True, True])


@each
def test_an_activation_weighs_what_is_open(activation, oracle):
    scores = draw(20, 2, F)
    with jax.enable_x64(True):
        got = elementwise(activation)(jnp.asarray(scores), jnp.asarray([MASK, MASK]))
    np.testing.assert_allclose(got, np.where(MASK, oracle(scores), 0), rtol=1e-12)


def test_what_is_masked_makes_no_gradient():
    scores = jnp.where(MASK, jnp.asarray(draw(21, F), "float32"), 1e6)  # exp overflows

    def total(scores, mask):
        return elementwise(jnp.exp)(scores, mask).sum()

    with jax.debug_nans(True), jax.debug_infs(True), jax.disable_jit():
        gradient = jax.grad(total)(scores, MASK)
        assert total(scores, ~MASK & MASK) == 0
        assert not jax.grad(total)(scores, ~MASK & MASK).any()
    assert (gradient[~MASK] == 0).all()
    np.testing.assert_allclose(gradient[MASK], jnp.exp(scores[MASK]), F32)


def test_the_sigmoid_weighting_is_one_of_them():
    scores = jnp.asarray(draw(22, F), "float32")
    got = elementwise(jax.nn.sigmoid)(scores, MASK)
    np.testing.assert_array_equal(got, weights.sigmoid(scores, MASK))


# --- rows, dtypes, and what it costs ------------------------------------------


def gated(x, keys, values, *, key_bias, value_bias):
    """With the signature of the other, to stand in its place."""
    return gated_mlp(x, keys, keys + 1, values) + value_bias


NETWORKS = {"plain": mlp, "gated": gated}
each_network = pytest.mark.parametrize("name", NETWORKS)


def over_rows(network):
    def one(x, shared):
        keys, values, key_bias, value_bias = shared
        return network(x, keys, values, key_bias=key_bias, value_bias=value_bias)

    return jax.vmap(one, in_axes=(0, None))


def rows_and_shared(dtype):
    shapes = {
        "x": (ROWS, M),
        **{n: s for n, s in (SHAPES | BIASES).items() if n != "x"},
    }
    x, *shared = (jnp.asarray(a, dtype) for a in inputs(shapes).values())
    return x, shared


@each_network
def test_vmap_is_a_loop(name):
    x, shared = rows_and_shared("float32")
    keys, values, key_bias, value_bias = shared
    want = [
        NETWORKS[name](row, keys, values, key_bias=key_bias, value_bias=value_bias)
        for row in x
    ]
    np.testing.assert_allclose(over_rows(NETWORKS[name])(x, shared), want, F32, 1e-5)


@each_network
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_the_dtype_of_the_inputs_is_kept(name, dtype):
    with jax.enable_x64(True):
        x, shared = rows_and_shared(dtype)
        got = over_rows(NETWORKS[name])(x, shared)
        gradients = jax.grad(lambda x: over_rows(NETWORKS[name])(x, shared).sum())(x)
    assert got.dtype == gradients.dtype == dtype


def test_mixed_inputs_give_the_promoted_dtype():
    x, keys, values = map(jnp.asarray, inputs(SHAPES, "float32").values())
    low_precision = keys.astype("bfloat16")
    assert mlp(x, low_precision, values).dtype == jnp.float32
    bias = jnp.ones(E)
    low = [a.astype("bfloat16") for a in (x, keys, values)]
    assert mlp(*low, value_bias=bias).dtype == jnp.float32
    assert gated_mlp(low[0], keys, low_precision, values).dtype == jnp.float32


def products(jaxpr):
    """The dimension numbers of all matrix products, those of inner programs too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield (
                equation.params["dimension_numbers"],
                [v.aval for v in equation.invars],
            )
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from products(inner)


@each_network
@pytest.mark.parametrize(
    ("dtype", "gradients"), [("float32", False), ("bfloat16", False), ("float32", True)]
)
def test_rows_make_plain_matrix_products(name, dtype, gradients):
    """As many as by hand, of two matrices each, with no axis for the batch."""
    x, shared = rows_and_shared(dtype)
    layer = over_rows(NETWORKS[name])

    def loss(x, shared):
        return (layer(x, shared) ** 2).sum()

    function = jax.value_and_grad(loss, (0, 1)) if gradients else layer
    found = list(products(jax.make_jaxpr(function)(x, shared).jaxpr))
    matrices = 2 if name == "plain" else 3
    # Backwards each has two: for what came in and for the matrix.
    assert len(found) == matrices * (3 if gradients else 1)
    for (_, batch_axes), operands in found:
        assert batch_axes == ((), ())
        assert [a.ndim for a in operands] == [2, 2]


# --- error text ---------------------------------------------------------------

X, KEYS, VALUES = (jnp.ones(s) for s in SHAPES.values())
BAD = {
    "batch": (
        lambda: mlp(jnp.ones((ROWS, M)), KEYS, VALUES),
        r"^x: expected shape \[M\], got \[11, 5\] \(a batch\? wrap .* jax\.vmap\)",
    ),
    "keys": (
        lambda: mlp(X, KEYS.T, VALUES),
        r"^keys: expected shape \[F, M=5\], got \[5, 7\] \(",
    ),
    "values": (
        lambda: mlp(X, KEYS, VALUES.T),
        r"^values: expected shape \[F=7, E\], got \[3, 7\] \(",
    ),
    "key_bias": (
        lambda: mlp(X, KEYS, VALUES, key_bias=jnp.ones(E)),
        r"^key_bias: expected shape \[F=7\], got \[3\] \(",
    ),
    "value_bias": (
        lambda: mlp(X, KEYS, VALUES, value_bias=jnp.ones(F)),
        r"^value_bias: expected shape \[E=3\], got \[7\] \(",
    ),
    "gate": (
        lambda: gated_mlp(X, KEYS[1:], KEYS, VALUES),
        r"^keys: expected shape \[F=6, M=5\], got \[7, 5\] \(",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_a_wrong_shape_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integers_are_no_input():
    with pytest.raises(TypeError, match=r"^x: expected float values, got int32"):
        mlp(jnp.arange(M), KEYS, VALUES)
