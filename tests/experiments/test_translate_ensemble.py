"""Several runs as one system, at the real command line."""

import dataclasses
import io
import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.datasets.pairs.ordered import ordered_batches
from experiments.datasets.pairs.tokenized import encode_pairs
from experiments.datasets.tokenizers.sentences import PAD
from experiments.training.fit import Run
from experiments.translate.config import Config, SearchConfig
from experiments.translate.loading import load_ensemble, load_run
from experiments.translate.shapes import shapes_for
from experiments.translate.training import train
from tests.experiments.commands import contents, run

PAIRS = [("3 May", "3 mai"), ("1 0 : 3 0 PM", "2 2 : 3 0"), ("1 km", "1 km")]


@pytest.fixture(scope="module")
def other_run(smoke_run, tmp_path_factory) -> Path:
    """A run as the smoke run, from another seed; its data are the same."""
    folder = tmp_path_factory.mktemp("other") / "run"
    config = Run.open(smoke_run).config_as(Config)
    config = dataclasses.replace(config, seed=1, steps=2, evaluate_every=0)
    train(config, folder, resume=False, say=lambda text: None)
    return folder


@pytest.fixture
def decode(monkeypatch, capsysbinary):
    """Runs `decode` on the sources; exit code and stdout."""

    def call(*arguments: object) -> tuple[int, str]:
        text = "\n".join(source for source, _ in PAIRS).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        code = run("decode", *arguments)
        return code, capsysbinary.readouterr().out.decode()

    return call


@pytest.mark.parametrize("combine", ["log-linear", "linear"])
def test_an_ensemble_of_a_run_with_itself_is_the_run(smoke_run, decode, combine):
    settings = ("--beam-size", 3, "--n-best", 3)
    alone = decode(smoke_run, *settings)
    twice = ("--ensemble", smoke_run, smoke_run, "--combine", combine)
    together = decode(smoke_run, *settings, *twice)
    assert alone[0] == together[0] == 0
    lines = (out.splitlines() for _, out in (alone, together))
    for one, other in zip(*lines, strict=True):
        *text, score = one.split(" ||| ")
        *other_text, other_score = other.split(" ||| ")
        assert text == other_text
        np.testing.assert_allclose(float(score), float(other_score), atol=2e-4)


@pytest.mark.parametrize("combine", ["log-linear", "linear"])
def test_an_ensemble_joins_probabilities_as_it_writes_and_as_it_scores(
    smoke_run, other_run, combine
):
    loaded = load_ensemble([smoke_run, other_run], combine=combine)
    tokenizers = loaded.system.tokenizers
    encoded = encode_pairs(PAIRS, *tokenizers)
    (_, batch), *_ = ordered_batches(encoded, shapes_for(loaded, [encoded])[-1:])
    apart = []
    for folder in (smoke_run, other_run):
        one = load_run(folder)
        logits, _ = one.system._write(one.params, batch)
        apart.append(jax.nn.softmax(logits))
    if combine == "linear":
        mean = (apart[0] + apart[1]) / 2
    else:
        mean = jnp.sqrt(apart[0] * apart[1])
        mean = mean / mean.sum(axis=-1, keepdims=True)
    logits, weights = loaded.system._write(loaded.params, batch)
    np.testing.assert_allclose(jax.nn.softmax(logits), mean, rtol=2e-5)
    np.testing.assert_allclose(loaded.system.align(loaded.params, batch), weights)
    gains = loaded.system.score(loaded.params, batch)
    loss = loaded.system.loss(loaded.params, batch, None)
    np.testing.assert_allclose(loss.total, -gains.sum(), rtol=1e-6)
    assert loss.num_tokens == (batch.target > 0).sum()
    found = loaded.system.search(
        loaded.params, jnp.asarray(batch.source), search=SearchConfig(beam_size=2)
    )
    best = jax.tree.map(lambda x: x[:, 0], found)
    some = best.lengths > 0
    assert some.sum() == len(PAIRS)
    written = jnp.arange(best.tokens.shape[1]) < best.lengths[:, None]
    target = jnp.where(written, best.tokens, PAD)
    gains = loaded.system.score(loaded.params, batch._replace(target=target))
    np.testing.assert_allclose(best.log_probs[some], gains.sum(axis=1)[some], rtol=1e-4)


def test_evaluating_an_ensemble_keeps_the_runs_own_record(
    smoke_run, other_run, tmp_path
):
    folder = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    search = ("--splits", "test", "--beam-size", 2)
    assert run("evaluate", folder, *search) == 0
    before = contents(folder)
    assert run("evaluate", folder, *search, "--ensemble", other_run) == 0
    after = contents(folder)
    new = {"ensemble.json", "pictures/ensemble_by_length.png"}
    assert set(after) - set(before) == new
    assert {name: after[name] for name in before} == before
    one, both = (
        json.loads(after[name]) for name in ("evaluation.json", "ensemble.json")
    )
    assert both["members"] == [str(folder), str(other_run)]
    assert both["parameters"] == 2 * one["parameters"]


def test_runs_that_do_not_fit_are_named(smoke_run, tmp_path, capsys):
    config = Run.open(smoke_run).config_as(Config)
    wider = dataclasses.replace(config.model, hidden_dim=11)
    fewer = dataclasses.replace(config.tokenizer, target_size=10)
    for name, changed, message in (
        ("wider", {"model": wider}, "expected the model of"),
        ("fewer", {"tokenizer": fewer}, "expected the target vocabulary of"),
    ):
        other = dataclasses.replace(config, steps=1, evaluate_every=0, **changed)
        train(other, tmp_path / name, resume=False, say=lambda text: None)
        assert run("evaluate", smoke_run, "--ensemble", tmp_path / name) == 2
        assert f"{name}: {message}" in capsys.readouterr().err
