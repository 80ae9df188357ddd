"""Scores of a text that is read as a stream: in columns, again, while learning."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.models.lstm_lm import LSTMLMConfig
from attnjax.parallel import make_mesh
from experiments.datasets.tokenizers.text import CharacterTokenizer
from experiments.language_model.configs import CONFIGS
from experiments.language_model.model import build_model
from experiments.language_model.stream_evaluation import StreamEvaluator
from experiments.language_model.text_metrics import EvaluationText

TEXTS = "the dogs saw <unk>\n" * 4, "a cat saw the dog\nand the cow\n"


@pytest.fixture(scope="module")
def tokenizer():
    return CharacterTokenizer("".join(TEXTS))


@pytest.fixture(scope="module")
def made(tokenizer):
    """An untrained model of two layers, and large parameters: its state matters."""
    sizes = LSTMLMConfig(hidden_dim=5, num_layers=2, embed_dim=3, max_length=7)
    config = dataclasses.replace(CONFIGS["ptb-char-laptop"][1], model=sizes)
    model, params = build_model(config, tokenizer)
    return model, jax.tree.map(lambda x: 3 * x, params)


@pytest.fixture(scope="module")
def texts(tokenizer):
    ids = (np.array(tokenizer.tokenize(text)) for text in TEXTS)
    return [EvaluationText(tokenizer, one) for one in ids]


def nats_of_columns(made, text, columns):
    """A loop over columns, one token after the other: nats of each token."""
    model = made[0].rebuild(made[1])
    step = jax.jit(lambda carry, token: model.step(carry, token)[:2])
    ids = [text.first, *text.tokens.tolist()]
    length = -(-len(text.tokens) // columns)
    nats = []
    for start in range(0, len(text.tokens), length):
        carry = model.start(1)
        # The first token of a column is predicted from the one before it.
        for token, target in itertools.pairwise(ids[start : start + length + 1]):
            carry, logits = step(carry, jnp.array([token]))
            row = np.asarray(logits[0], np.float64)
            nats.append(np.log(np.exp(row).sum()) - row[target])
    return nats


def test_columns_begin_anew_and_segments_change_nothing(made, texts):
    model, params = made
    text = texts[0]
    assert len(text.tokens) % 3  # the last column is shorter
    nats = nats_of_columns(made, text, columns=3)
    assert len(nats) == len(text.tokens)  # each once
    whole = np.mean(nats_of_columns(made, text, columns=1))
    assert abs(np.mean(nats) - whole) > 1e-3
    for length, devices in ((1, 1), (5, 1), (5, 2), (1000, 1)):
        config = dataclasses.replace(model.config, max_length=length)
        evaluate = StreamEvaluator(
            model._replace(config=config), columns=3, mesh=make_mesh(devices)
        )
        counted = []
        found = evaluate(params, text, counted.append)
        np.testing.assert_allclose(found.loss, np.mean(nats), rtol=1e-5)
        assert sum(counted) == found.tokens == len(nats)


def test_dynamic_evaluation_of_a_text_remembers_no_other(made, texts):
    """Nor itself: what it has learned is forgotten. Two devices change nothing."""
    model, params = made
    make = partial(StreamEvaluator, model, columns=1, dynamic_learning_rate=0.5)
    evaluate = make(mesh=make_mesh(1))
    first, second = (make(mesh=make_mesh(1))(params, text).loss for text in texts)
    assert [evaluate(params, texts[0]).loss for _ in range(2)] == [first, first]
    assert evaluate(params, texts[1]).loss == second
    static = StreamEvaluator(model, columns=1, mesh=make_mesh(1))(params, texts[1])
    assert abs(static.loss - second) > 1e-3
    both = make(mesh=make_mesh(2))
    found = [both(params, text).loss for text in (*texts, texts[0])]
    np.testing.assert_allclose(found, [first, second, first], rtol=1e-5)
    assert found[0] == found[2]
