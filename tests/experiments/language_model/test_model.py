"""The language model as a trained system: parameters, decay and loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.datasets.text.windows import IGNORE_INDEX
from experiments.datasets.tokenizers.text import ByteTokenizer, CharacterTokenizer
from experiments.language_model.configs import CONFIGS
from experiments.language_model.model import build_model
from experiments.training.parameters import count_parameters, weight_decay_mask


def system_of(name, characters):
    """A config's system and the shapes of its parameters; no array is made."""
    config = CONFIGS[name][1]
    tokenizer = CharacterTokenizer(characters)
    return config, jax.eval_shape(lambda: build_model(config, tokenizer)[1])


@pytest.mark.parametrize(
    ("name", "millions"), [("shakespeare-char", 0.80), ("shakespeare-char-gpu", 10.65)]
)
def test_nanogpts_models_have_as_many_parameters_as_it_says(name, millions):
    characters = map(chr, range(64))  # and the newline makes 65
    _, params = system_of(name, [c for c in characters if c != "\n"] + ["x"])
    without_positions = count_parameters(params) - params["positions"].size
    assert round(without_positions / 1e6, 2) == millions


def test_gpt_2s_model_and_batch_have_the_published_sizes():
    config, params = system_of("gpt2-124m", map(chr, range(50_257)))
    assert count_parameters(params) == 124_439_808
    assert config.batch_size * config.model.max_length == 491_520


def test_matrices_decay_and_nothing_else():
    _, params = system_of("gpt2-124m", "abc")
    assert set(params) == {"embedding", "positions", "decoder"}
    for path, decays in jax.tree_util.tree_leaves_with_path(weight_decay_mask(params)):
        name = jax.tree_util.keystr(path, simple=True, separator="/").split("/")[-1]
        assert decays == (name in ("w", "embedding", "positions")), path


def test_a_step_takes_off_its_share_of_matrices():
    config = CONFIGS["shakespeare-char"][1].optimizer
    params = {"w": jnp.full((2, 3), 2.0), "b": jnp.full(3, 2.0)}
    nothing = jax.tree.map(jnp.zeros_like, params)
    with jax.numpy_dtype_promotion("standard"):
        tx = config.build(2_000)
        update, state = jax.jit(tx.update), tx.init(params)
        rates = []
        for _ in range(102):
            updates, state = update(nothing, state, params)
            rates.append(float(updates["w"][0, 0]) / (-0.1 * 2.0))
    assert not updates["b"].any()
    np.testing.assert_allclose([rates[0], rates[50]], [0, 1.5e-3], rtol=1e-5)
    np.testing.assert_allclose(rates[100], 3e-3, rtol=1e-5)
    assert rates[101] < 3e-3
    rate = config.build_schedule(2_000)
    np.testing.assert_allclose(float(rate(2_000)), 3e-4, rtol=1e-5)
    np.testing.assert_allclose(float(rate(1_050)), 1.65e-3, rtol=1e-5)


def test_the_loss_is_that_of_every_token_given_those_before():
    smoke = CONFIGS["smoke"][1]
    model = dataclasses.replace(smoke.model, max_length=5)
    model, params = build_model(
        dataclasses.replace(smoke, model=model), ByteTokenizer()
    )
    windows = np.random.default_rng(5).integers(0, 256, (2, 6)).astype(np.int32)
    windows[1, 4:] = IGNORE_INDEX
    read = jax.jit(lambda params, ids: model.rebuild(params)(ids)[0][0, -1])
    want, count = 0.0, 0
    for row in windows:
        row = row[row != IGNORE_INDEX]
        for t in range(1, len(row)):
            logits = np.asarray(read(params, row[None, :t]), np.float64)
            want += np.log(np.exp(logits).sum()) - logits[row[t]]
            count += 1
    loss = jax.jit(model.loss)(params, windows)
    assert int(loss.num_tokens) == count == 5 + 3
    np.testing.assert_allclose(loss.total, want, rtol=1e-5)
