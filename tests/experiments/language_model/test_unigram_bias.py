"""The output bias that starts at the frequencies of the training text."""

import dataclasses

import jax
import numpy as np
import pytest

from attnjax.parallel import make_mesh
from experiments.datasets.text.datasets import TextFiles
from experiments.errors import UserError
from experiments.language_model.configs import CONFIGS
from experiments.language_model.stream_task import log_frequencies, make_task
from experiments.training.task import TaskSetup

SETUP = TaskSetup(make_mesh(1), None, lambda text: None)


def small(tmp_path, name="ptb-char-laptop", **fields):
    file = tmp_path / "text.txt"
    file.write_text("aaaaabbbac\n" * 60)
    config = CONFIGS[name][1]
    sizes = {"max_length": 5} | ({"hidden_dim": 3} if "ptb" in name else {})
    return dataclasses.replace(
        config,
        data=TextFiles(text=(file,)),
        model=dataclasses.replace(config.model, **sizes),
        batch_size=2,
        **fields,
    )


@pytest.mark.parametrize("noise", ["none", "adaptive"])
def test_an_untrained_model_knows_the_frequencies_and_nothing_else(tmp_path, noise):
    config = small(tmp_path)
    kind = dataclasses.replace(config.weight_noise, kind=noise)
    config = dataclasses.replace(config, weight_noise=kind)
    task = make_task(config, SETUP)
    params = task.init_params()
    params = params.mean if noise == "adaptive" else params
    ids = task.tokenizer.tokenize("abc\n")
    shares = np.exp(np.asarray(params["b_output"]))[ids]
    np.testing.assert_allclose(shares, np.array([6, 3, 1, 1]) / 11, atol=0.01)
    zeros = make_task(dataclasses.replace(config, unigram_bias=False), SETUP)
    other = zeros.init_params()
    other = other.mean if noise == "adaptive" else other
    assert not np.asarray(other["b_output"]).any()
    for ours, theirs in zip(
        jax.tree.leaves(params | {"b_output": 0}),
        jax.tree.leaves(other | {"b_output": 0}),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_an_id_that_never_occurs_is_still_possible():
    np.testing.assert_allclose(
        log_frequencies(np.array([1, 1, 0]), 3), np.log([2 / 6, 3 / 6, 1 / 6]), 1e-6
    )


def test_a_model_without_a_state_refuses_it(tmp_path):
    config = small(tmp_path, "shakespeare-char", unigram_bias=True)
    with pytest.raises(UserError, match="unigram_bias: expected False for a model"):
        make_task(config, SETUP)
