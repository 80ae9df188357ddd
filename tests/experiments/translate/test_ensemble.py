"""Several runs as one system, at the real command line."""

import io
import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.align import read_pharaoh, symmetrise
from experiments.datasets.pairs.evaluation_batches import evaluation_batches
from experiments.datasets.pairs.tokenized import tokenize_pairs
from experiments.datasets.tokenizers.sentences import PAD
from experiments.translate import loading
from experiments.translate.alignments import flip
from experiments.translate.batch_shapes import evaluation_shapes
from experiments.translate.config import SearchConfig
from experiments.translate.loading import load_ensemble, load_run
from tests.experiments.commands import contents, run

PAIRS = [("3 May", "3 mai"), ("1 0 : 3 0 PM", "2 2 : 3 0"), ("1 km", "1 km")]


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
    loaded = load_ensemble([smoke_run, other_run], "last", combine=combine)
    tokenizers = loaded.model.tokenizers
    encoded = tokenize_pairs(PAIRS, *tokenizers)
    *_, shape = evaluation_shapes([encoded], batch_tokens=512, devices=2)
    (_, batch), *_ = evaluation_batches(encoded, [shape])
    apart = []
    for folder in (smoke_run, other_run):
        one = load_run(folder, "last")
        logits, _ = one.model.teacher_forced(one.params, batch)
        apart.append(jax.nn.softmax(logits))
    if combine == "linear":
        mean = (apart[0] + apart[1]) / 2
    else:
        mean = jnp.sqrt(apart[0] * apart[1])
        mean = mean / mean.sum(axis=-1, keepdims=True)
    logits, weights = loaded.model.teacher_forced(loaded.params, batch)
    np.testing.assert_allclose(jax.nn.softmax(logits), mean, rtol=2e-5)
    np.testing.assert_allclose(loaded.model.align(loaded.params, batch), weights)
    gains = loaded.model.token_log_probs(loaded.params, batch)
    loss = loaded.model.loss(loaded.params, batch, None)
    np.testing.assert_allclose(loss.total, -gains.sum(), rtol=1e-6)
    assert loss.num_tokens == (batch.target > 0).sum()
    found = loaded.model.search(
        loaded.params, jnp.asarray(batch.source), search=SearchConfig(beam_size=2)
    )
    best = jax.tree.map(lambda x: x[:, 0], found)
    some = best.lengths > 0
    assert some.sum() == len(PAIRS)
    written = jnp.arange(best.tokens.shape[1]) < best.lengths[:, None]
    target = jnp.where(written, best.tokens, PAD)
    gains = loaded.model.token_log_probs(loaded.params, batch._replace(target=target))
    np.testing.assert_allclose(best.log_probs[some], gains.sum(axis=1)[some], rtol=1e-4)


def test_evaluating_an_ensemble_keeps_the_runs_own_record(
    smoke_run, other_run, tmp_path
):
    folder = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    search = ("--splits", "test", "--beam-size", 2, "--checkpoint", "last")
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


def test_aligning_takes_the_mean_of_the_weights(smoke_run, other_run, tmp_path, capsys):
    """Of a run with itself: the run's own; of two runs: the mean of both."""
    for side, texts in zip(("source", "target"), zip(*PAIRS, strict=True), strict=True):
        (tmp_path / side).write_text("".join(f"{text}\n" for text in texts))
    found = {}
    for name, first, options in (
        ("one", smoke_run, ()),
        ("other", other_run, ()),
        ("twice", smoke_run, ("--ensemble", smoke_run)),
        ("both", smoke_run, ("--ensemble", other_run)),
    ):
        sides = ("--source", tmp_path / "source", "--target", tmp_path / "target")
        out = tmp_path / f"{name}.npz"
        given = (*sides, *options, "--weights-out", out, "--out", tmp_path / name)
        given = (*given, "--checkpoint", "last")
        assert run("align", first, *given) == 0, capsys.readouterr().err
        with np.load(out) as weights:
            found[name] = [weights[f"line_{n}"] for n in range(1, len(PAIRS) + 1)]
    for one, other, twice, both in zip(*found.values(), strict=True):
        np.testing.assert_allclose(twice, one, atol=1e-5)
        np.testing.assert_allclose(both, (one + other) / 2, atol=1e-5)
        assert np.abs(one - other).max() > 1e-4


def test_the_reverse_may_be_an_ensemble(smoke_run, other_run, tmp_path, monkeypatch):
    """Small runs link alike, so that it is also seen which are loaded."""
    for side, texts in zip("st", zip(*PAIRS, strict=True), strict=True):
        (tmp_path / side).write_text("".join(f"{text}\n" for text in texts))
    opened = []

    def load(folders, checkpoint):
        opened.append(list(folders))
        return load_ensemble(folders, checkpoint)

    monkeypatch.setattr(loading, "load_ensemble", load)

    def align(source, target, *options):
        sides = ("--source", tmp_path / source, "--target", tmp_path / target)
        given = ("--checkpoint", "last", *options, "--out", tmp_path / "out")
        assert run("align", smoke_run, *sides, *given) == 0
        return read_pharaoh(tmp_path / "out")

    forward, backward = align("s", "t"), align("t", "s", "--ensemble", other_run)
    both = align("s", "t", "--reverse", smoke_run, other_run, "--symmetrize", "union")
    assert opened == [[smoke_run], [smoke_run, other_run]] * 2
    assert both == [
        symmetrise(one, flip(other), method="union")
        for one, other in zip(forward, backward, strict=True)
    ]


def test_runs_that_do_not_fit_are_named(smoke_run, tmp_path, capsys):
    larger, fewer = (
        Path(shutil.copytree(smoke_run, tmp_path / name))
        for name in ("larger", "fewer")
    )
    config = (larger / "config.json").read_text()
    config = config.replace('"hidden_dim": 7', '"hidden_dim": 11')
    (larger / "config.json").write_text(config)
    shutil.rmtree(fewer / "checkpoints")  # which have checksums of the vocabularies
    words = json.loads((fewer / "target.json").read_text())
    words["words"].pop()
    (fewer / "target.json").write_text(json.dumps(words))
    for folder, message in (
        (larger, "expected the model of"),
        (fewer, "expected the target vocabulary of"),
    ):
        assert run("evaluate", smoke_run, "--ensemble", folder) == 2
        assert f"{folder}: {message}" in capsys.readouterr().err
