"""The Neural Turing Machine and the recurrent network that it is compared with."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.cells.aligners import HeadParams
from attnjax.cells.aligners.addressing import to_addressing
from attnjax.cells.feed_forward import FeedForwardParams
from attnjax.cells.ntm import NTMParams, NTMState
from attnjax.models.ntm import NTM, NTMConfig
from attnjax.models.rnn import RNN, RNNConfig
from attnjax.models.state import split
from tests import oracle_ntm, oracles
from tests.cells.papers import (
    cell_shapes,
    draw_dict,
    layer_params,
    lstm_shapes,
    side_by_side,
)
from tests.core.cases import draw
from tests.models.papers import nested
from tests.oracle_models import part

pytestmark = pytest.mark.versions

B, T, I, O, D = 2, 5, 3, 2, 7  # noqa: E741
H, W, N, M = 2, 3, 11, 4  # heads of each kind, tape
P = M + 6
LSTM_GATES = ("_i", "_f", "_g", "_o")
CONFIG = NTMConfig(
    input_dim=I,
    output_dim=O,
    hidden_dim=D,
    num_layers=2,
    num_read_heads=H,
    num_write_heads=W,
    tape_size=N,
    tape_width=M,
    tape_init="learned",
)
FEED_FORWARD = dataclasses.replace(CONFIG, controller="feed-forward", num_layers=1)
CONFIGS = {"lstm": CONFIG, "feed-forward": FEED_FORWARD}
XS = draw(80, B, T, I)
SHARED_SHAPES = {
    "tape": (N, M),
    "read_0": (H, N),
    "write_0": (W, N),
    "r_0": (H, M),
    "R": (H * P, D),
    "b_R": (H * P,),
    "S": (W * (P + 2 * M), D),
    "b_S": (W * (P + 2 * M),),
    "V": (O, D + H * M),
    "b_V": (O,),
}
PAPERS = {
    "lstm": draw_dict(
        400,
        SHARED_SHAPES
        | {"h_0": (2, D), "c_0": (2, D)}
        | cell_shapes(LSTM_GATES, I, D, H * M, "layers.")
        | lstm_shapes(D, D, "layers.1."),
    ),
    "feed-forward": draw_dict(
        500,
        SHARED_SHAPES | cell_shapes(("",), I, D, H * M, "layers."),
    ),
}
each_controller = pytest.mark.parametrize("controller", CONFIGS)


def ntm_params(p, controller):
    """Parameters of `NTM`, differentiable in the matrices of the oracle."""
    layer = part(p, "layers")
    if controller == "lstm":
        layers, gates = layer_params(p, "layers", "lstm"), LSTM_GATES
        first = [
            {"hidden": h, "cell": c} for h, c in zip(p["h_0"], p["c_0"], strict=True)
        ]
    else:
        layers, gates = (FeedForwardParams(layer["W"].T, layer["b"]),), ("",)
        first = [jnp.zeros(D)]
    machine = NTMParams(
        layers=layers,
        w_reads=side_by_side(layer, "C", gates),
        read_heads=HeadParams(p["R"].T, p["b_R"]),
        write_heads=HeadParams(p["S"].T, p["b_S"]),
    )
    start = NTMState(tuple(first), p["tape"].T, p["read_0"], p["write_0"], p["r_0"])
    return {
        "machine": nested(machine),
        "first": nested(start),
        "output": {"w": p["V"].T, "b": p["b_V"]},
    }


def call(p, xs, controller):
    config = dataclasses.replace(CONFIGS[controller], dtype="float64")
    rebuild, _ = split(NTM(config, rngs=nnx.Rngs(0)))
    return rebuild(ntm_params(p, controller))(xs)


def test_the_key_strength_of_every_head_starts_at_its_bias():
    config = dataclasses.replace(CONFIG, strength_bias=5.0)
    machine = NTM(config, rngs=nnx.Rngs(0)).machine(jnp.float32)
    reads = machine.read_heads.b.reshape(H, P)
    writes = machine.write_heads.b.reshape(W, P + 2 * M)
    for head in [*reads, *writes[:, :P]]:
        assert to_addressing(head, tape_width=M).strength == pytest.approx(5.0067, 1e-4)
    assert {*np.unique(reads), *np.unique(writes)} == {0.0, 5.0}


@each_controller
def test_every_step_is_the_papers(controller):
    p = PAPERS[controller]
    with jax.enable_x64(True):
        logits, out = jax.jit(functools.partial(call, controller=controller))(p, XS)
    for b in range(B):
        (want, reads, read_w, write_w), _ = oracle_ntm.run(p, XS[b], (H, W))
        np.testing.assert_allclose(logits[b], want, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(out.reads[b], reads, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(out.read_weights[b], read_w, rtol=1e-10)
        np.testing.assert_allclose(out.write_weights[b], write_w, rtol=1e-10)


@each_controller
def test_the_gradient_is_that_of_the_loop(controller):
    along = np.cos(np.arange(1.0 * T * O)).reshape(T, O)

    def ours(p, xs):
        return jnp.sum(call(p, xs, controller)[0][0] * along)

    def loop(p, xs=XS):
        return float((oracle_ntm.run(p, xs[0], (H, W))[0][0] * along).sum())

    p = PAPERS[controller]
    with jax.enable_x64(True):
        got, d_xs = jax.jit(jax.grad(ours, (0, 1)))(p, XS)
    # Each array along one direction, which no entry is left out of.
    for name, array in p.items():
        direction = draw(90, *array.shape)
        slow = oracles.numerical_gradient(
            lambda step, name=name, d=direction: loop(p | {name: p[name] + step * d}),
            np.zeros(()),
        )
        fast = (np.asarray(got[name]) * direction).sum()
        np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-8, err_msg=name)
    slow = oracles.numerical_gradient(lambda x: loop(p, x[None]), XS[0])
    np.testing.assert_allclose(d_xs[0], slow, rtol=1e-5, atol=1e-8)


@functools.cache
def machine(kind, config):
    return split(kind(config, rngs=nnx.Rngs(3)))


MODELS = {
    "ntm-lstm": (NTM, dataclasses.replace(CONFIG, tape_init="constant")),
    "ntm-gru": (NTM, dataclasses.replace(CONFIG, controller="gru")),
    "ntm-ff": (NTM, FEED_FORWARD),
    "rnn": (RNN, RNNConfig(input_dim=I, output_dim=O, hidden_dim=D, num_layers=2)),
}
each_model = pytest.mark.parametrize("name", MODELS)


@each_model
def test_stepping_gives_the_numbers_of_the_call(name):
    rebuild, params = machine(*MODELS[name])
    model, xs = rebuild(params), jnp.float32(XS)
    logits, out = jax.jit(lambda x: model(x))(xs)
    carry, step = model.start(B), jax.jit(lambda c, x: model.step(c, x))
    for t in range(T):
        carry, got, did = step(carry, xs[:, t])
        np.testing.assert_allclose(got, logits[:, t], rtol=1e-5, atol=1e-6)
        want = jax.tree.map(lambda x, t=t: x[:, t], out)
        for a, b in zip(jax.tree.leaves(did), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@each_model
def test_a_row_alone_equals_itself_in_any_batch_and_with_any_padding(name):
    rebuild, params = machine(*MODELS[name])
    run = jax.jit(lambda x: rebuild(params)(x)[0])
    xs = jnp.float32(XS)
    alone = run(xs[1:, : T - 2])
    padded = run(xs.at[1, T - 2 :].set(1e6))[1:, : T - 2]
    np.testing.assert_allclose(alone, padded, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(run(xs), run(xs))  # nothing is kept between calls


@each_model
def test_every_parameter_learns_and_the_starts_too(name):
    rebuild, params = machine(*MODELS[name])
    xs = jnp.float32(XS)
    loss = lambda p: jnp.sum(jnp.square(rebuild(p)(xs)[0]))  # noqa: E731
    gradients = jax.jit(jax.grad(loss))(params)
    still = {
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.any(g)
    }
    # A controller without a state does not use its first one.
    assert still == ({"['first']['layers']['0']"} if name == "ntm-ff" else set())


@pytest.mark.parametrize("tape", ["constant", "learned"])
def test_weights_start_in_the_simplex_and_differ_between_rows(tape):
    config = dataclasses.replace(CONFIG, tape_init=tape)
    rebuild, params = machine(NTM, config)
    carry = rebuild(params).start(B)
    for given in (carry.read_weights, carry.write_weights):
        np.testing.assert_allclose(given.sum(-1), 1, rtol=1e-6)
        assert (
            given.std(axis=-1) > 0
        ).all()  # else no shift could ever tell rows apart
    if tape == "constant":
        assert (carry.tape == np.float32(1e-6)).all()
        assert "tape" not in params["first"]


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_extreme_parameters_are_finite_in_value_and_gradient(scale):
    """All heads emit zeros, or the largest numbers that they may."""
    rebuild, params = machine(NTM, CONFIG)
    params = jax.tree.map(lambda x: scale * x, params)
    xs = jnp.float32(XS)
    loss = lambda p: jnp.sum(rebuild(p)(xs)[0])  # noqa: E731
    with jax.debug_nans(True):
        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_what_a_head_emits_is_clipped_at_20():
    """The recipe of Collier & Beel 2018, without which some seeds diverge."""
    signs = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    emit = lambda size: to_addressing(size * signs, tape_width=2)  # noqa: E731
    far, at, within = emit(99.0), emit(20.0), emit(19.0)
    for one, two in zip(far, at, strict=True):
        np.testing.assert_array_equal(one, two)
    assert float(far.strength) == 20.0
    assert float(within.strength) == 19.0


@each_model
def test_bfloat16_computes_in_it_and_returns_float32(name):
    kind, config = MODELS[name]
    rebuild, params = machine(kind, dataclasses.replace(config, dtype="bfloat16"))
    logits, out = jax.eval_shape(lambda x: rebuild(params)(x), jnp.float32(XS))
    assert logits.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(out)} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, "num_layers: expected at least 1, got 0"),
        ({"num_write_heads": 0}, "num_write_heads: expected at least 1, got 0"),
        ({"tape_size": 0}, "tape_size: expected at least 1, got 0"),
        ({"max_shift": -1}, "max_shift: expected at least 0, got -1"),
        ({"strength_bias": -1.0}, "strength_bias: expected 0 to 20, got -1.0"),
        ({"strength_bias": 21.0}, "strength_bias: expected 0 to 20, got 21.0"),
        ({"controller": "gpt"}, "controller: expected one of lstm, gru, feed-forward"),
        ({"start_weights": "last"}, "start_weights: expected one of first-row, spread"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        NTM(dataclasses.replace(CONFIG, **changes), rngs=nnx.Rngs(0))


def test_wrong_sizes_are_named():
    rebuild, params = machine(NTM, CONFIG)
    with pytest.raises(
        ValueError, match=r"x: expected shape \[B, T, 3\], got \[2, 5\]"
    ):
        rebuild(params)(jnp.ones((2, 5)))
    rebuild, params = machine(*MODELS["rnn"])
    with pytest.raises(ValueError, match=r"x: expected shape \[B, 3\], got \[2, 4\]"):
        rebuild(params).step(rebuild(params).start(2), jnp.ones((2, 4)))
