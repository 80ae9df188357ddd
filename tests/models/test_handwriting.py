"""The handwriting network: stepping, padding, the paper's loops, clipped gradients."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax.core.mixtures import pen_log_density, pen_mixture
from attnjax.models.handwriting import Handwriting, HandwritingConfig
from attnjax.models.state import split
from tests import oracle_handwriting
from tests.core.cases import draw

pytestmark = pytest.mark.versions

B, T, S, E, D, K = 2, 7, 5, 3, 11, 2
CONFIG = HandwritingConfig(
    num_symbols=E,
    hidden_dim=D,
    num_layers=2,
    window_gaussians=3,
    points_per_character=2.0,
    mixture_components=K,
)
PREDICTION = dataclasses.replace(CONFIG, num_symbols=0)
TEXT = np.array([[2, 0, 1, 0, 0], [1, 2, 0, 0, 0]])
TEXT_MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], bool)
POINTS = np.asarray(draw(1, B, T, 3), np.float32)
POINTS[..., 2] = POINTS[..., 2] > 1
MASK = np.arange(T) < np.array([[T], [4]])


def built(config=CONFIG):
    return split(Handwriting(config, rngs=nnx.Rngs(0)))


def run(config, params, points=POINTS, mask=MASK, text=TEXT, text_mask=TEXT_MASK):
    rebuild, _ = built(config)

    @jax.jit
    def call(params):
        model = rebuild(params)
        memory = model.encode(jnp.asarray(text), jnp.asarray(text_mask))
        return model(memory, jnp.asarray(points), jnp.asarray(mask))

    return call(params)


def test_a_batch_without_rows_steps_too():
    rebuild, params = built()
    model = rebuild(params)
    memory = model.encode(jnp.zeros((0, S), int), jnp.ones((0, S), bool))
    carry, out = model.step(memory, model.start(memory, 0), jnp.zeros((0, 3)))
    shapes = {leaf.shape[0] for leaf in jax.tree.leaves((carry, out))}
    assert shapes == {0}
    assert out.outputs.shape == (0, 1 + 6 * K)


@pytest.mark.parametrize("config", [CONFIG, PREDICTION], ids=["text", "no text"])
def test_stepping_gives_the_numbers_of_the_call(config):
    rebuild, params = built(config)
    _, out = run(config, params)
    model = rebuild(params)
    memory = model.encode(jnp.asarray(TEXT), jnp.asarray(TEXT_MASK))
    carry = model.start(memory, B)
    step = jax.jit(lambda params, *x: rebuild(params).step(*x))
    for t in range(4):  # as long as both lines go on
        carry, one = step(params, memory, carry, POINTS[:, t])
        np.testing.assert_allclose(one.outputs, out.outputs[:, t], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(one.weights, out.weights[:, t], rtol=1e-5, atol=1e-6)


def paper_params(params):
    """Our parameters as the loops of the paper take them."""

    def layer(p):
        names = ("i", "f", "g", "o")
        found = {}
        for key, name in (("W", "w"), ("U", "u"), ("b", "b")):
            for gate, part in zip(names, np.split(p[name], 4, axis=-1), strict=True):
                found[f"{key}_{gate}"] = np.asarray(part, np.float64).T
        for gate, name in (("i", "w_input"), ("f", "w_forget"), ("o", "w_output")):
            found[f"P_{gate}"] = np.asarray(p[name], np.float64)
        return found

    layers = [layer(params["layers"]["layers"][str(n)]) for n in range(2)]
    aligner = params["layers"]["aligner"]
    return {
        "layers": layers,
        "W_window": np.asarray(aligner["w"], np.float64).T,
        "b_window": np.asarray(aligner["b"], np.float64),
        "W_y": np.split(np.asarray(params["output"]["w"], np.float64).T, 2, axis=1),
        "b_y": np.asarray(params["output"]["b"], np.float64),
    }


def test_the_network_is_that_of_the_paper():
    _, params = built()
    leaves, structure = jax.tree.flatten(params)
    # Peepholes and biases of 0 would hide a mistake.
    moved = [x + 0.1 * draw(n, *x.shape).astype(x.dtype) for n, x in enumerate(leaves)]
    params = jax.tree.unflatten(structure, moved)
    _, out = run(CONFIG, params)
    for row, (points, text) in enumerate(((7, 3), (4, 2))):
        outputs, phi = oracle_handwriting.window_layers(
            paper_params(params), POINTS[row, :points], np.eye(E)[TEXT[row, :text]]
        )
        got = out.outputs[row, :points], out.weights[row, :points, : text + 1]
        np.testing.assert_allclose(got[0], outputs, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[1], phi, rtol=1e-4, atol=1e-6)
        assert not out.weights[row, :points, text + 1 :].any()


def test_padding_on_either_side_of_the_text_and_after_the_points_changes_nothing():
    _, params = built()
    carry, out = run(CONFIG, params)
    poisoned = np.where(MASK[..., None], POINTS, 1e6)
    text = np.concatenate([np.full((B, 1), 2), TEXT, np.ones((B, 1), int)], axis=1)
    text_mask = np.pad(TEXT_MASK, ((0, 0), (1, 1)))
    other, padded = run(CONFIG, params, poisoned, MASK, text, text_mask)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    close(padded.outputs[MASK], out.outputs[MASK])
    jax.tree.map(close, other.layers, carry.layers)


def test_a_line_in_two_parts_is_the_whole_line():
    """The window's centres are carried on, as a primed line needs them."""
    rebuild, params = built()

    @jax.jit
    def call(params, *points):
        model = rebuild(params)
        memory = model.encode(jnp.asarray(TEXT), jnp.asarray(TEXT_MASK))
        carry, outs = None, []
        for part in points:
            carry, out = model(memory, part, None, carry)
            outs.append(out.outputs)
        return carry, jnp.concatenate(outs, axis=1)

    _, whole = call(params, POINTS)
    carry, parts = call(params, POINTS[:, :3], POINTS[:, 3:])
    assert (carry.aligner > 0).all()
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)


def nats(rebuild, params):
    """The cost of all points after the first."""
    model = rebuild(params)
    memory = model.encode(jnp.asarray(TEXT), jnp.asarray(TEXT_MASK))
    _, out = model(memory, jnp.asarray(POINTS[:, :-1]))

    def cost(outputs, point):
        return -pen_log_density(pen_mixture(outputs), point)

    return jax.vmap(jax.vmap(cost))(out.outputs, jnp.asarray(POINTS[:, 1:])).sum()


value_and_slope = jax.jit(jax.value_and_grad(nats, argnums=1), static_argnums=0)


def test_derivatives_by_the_outputs_are_clipped_at_every_step():
    rebuild, params = built(dataclasses.replace(CONFIG, output_gradient_limit=0.01))
    free, _ = built(dataclasses.replace(CONFIG, output_gradient_limit=None))
    clipped = value_and_slope(rebuild, params)[1]["output"]["b"]
    whole = value_and_slope(free, params)[1]["output"]["b"]
    assert (abs(clipped) <= 0.01 * B * (T - 1) + 1e-6).all()
    assert (abs(whole) > 0.01 * B * (T - 1)).any()


def test_it_learns_two_lines_by_heart():
    rebuild, params = built()
    tx = optax.adam(0.03)
    state = tx.init(params)

    @jax.jit
    def update(params, state):
        value, slope = value_and_slope(rebuild, params)
        change, state = tx.update(slope, state)
        return optax.apply_updates(params, change), state, value

    costs = []
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        for _ in range(80):
            params, state, value = update(params, state)
            costs.append(float(value))
    # Of 24 coordinates with a deviation of 1, 34 nats are the entropy. At this rate the
    # cost of a single step may spike, at which depends on the processor.
    assert costs[0] > 34 > 0 > np.median(costs[-20:])


def test_the_published_networks_have_the_published_sizes():
    """3.4M and 3.7M parameters, table 4; one layer of 900 has 3.4M as well."""

    def count(**sizes):
        model = nnx.eval_shape(
            lambda: Handwriting(HandwritingConfig(**sizes), rngs=nnx.Rngs(0))
        )
        return sum(x.size for x in jax.tree.leaves(nnx.state(model)))

    assert round(count() / 1e6, 1) == 3.4
    assert round(count(num_layers=1, hidden_dim=900) / 1e6, 1) == 3.4
    assert round(count(num_symbols=57) / 1e6, 1) == 3.7


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_other_cells_fit_too(cell):
    config = dataclasses.replace(CONFIG, cell=cell)
    _, params = built(config)
    assert np.isfinite(run(config, params)[1].outputs).all()


def test_a_text_without_padding_behind_it_is_refused():
    rebuild, params = built()
    with pytest.raises(ValueError, match=r"mask: expected .* padding .* row 0"):
        rebuild(params).encode(jnp.zeros((1, 3), int), jnp.ones((1, 3), bool))


def test_a_mask_of_numbers_or_of_another_shape_is_refused():
    rebuild, params = built()
    with pytest.raises(TypeError, match="mask: expected a boolean mask"):
        rebuild(params).encode(TEXT, TEXT_MASK.astype(int))
    with pytest.raises(
        ValueError, match=r"mask: expected shape \[2, 5\], got \[2, 4\]"
    ):
        rebuild(params).encode(TEXT, TEXT_MASK[:, :4])


def test_characters_out_of_range_are_refused():
    rebuild, params = built()
    text, mask = jnp.array([[0, E, 0]]), jnp.array([[True, True, False]])
    with pytest.raises(ValueError, match=f"text: expected ids from 0 to {E - 1}"):
        rebuild(params).encode(text, mask)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"num_layers": 0}, "num_layers: expected at least 1"),
        ({"mixture_components": 0}, "mixture_components: expected at least 1"),
        ({"window_gaussians": 0}, "window_gaussians: expected at least 1"),
        ({"cell": "rnn"}, "cell: expected one of gru, lstm, peephole_lstm, got 'rnn'"),
        ({"cell_gradient_limit": -1.0}, "cell_gradient_limit: expected more than 0"),
        ({"points_per_character": 0.0}, "points_per_character: expected more than 0"),
    ],
)
def test_settings_out_of_range_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        Handwriting(dataclasses.replace(CONFIG, **setting), rngs=nnx.Rngs(0))


def test_points_of_another_width_are_refused():
    rebuild, params = built()
    memory = rebuild(params).encode(jnp.asarray(TEXT), jnp.asarray(TEXT_MASK))
    with pytest.raises(ValueError, match=r"points: expected shape \[B, T, 3\]"):
        rebuild(params)(memory, jnp.zeros((B, 2, 4)))


def test_a_network_that_reads_a_text_is_not_run_without_one():
    rebuild, params = built()
    message = "^memory: expected the result of encode, got None"
    with pytest.raises(ValueError, match=message):
        rebuild(params)(None, POINTS)
    with pytest.raises(ValueError, match=message):
        rebuild(params).step(None, rebuild(params).start(None, B), POINTS[:, 0])
