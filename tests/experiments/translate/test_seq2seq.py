"""Seq2Seq as a translation run: its loss as published, ensembles, sentence vectors."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from matplotlib.image import imread

import attnjax as aj
from experiments.cli.checks import check_numbers
from experiments.datasets.pairs.batching import Batch
from experiments.training.optimizer import OptimizerConfig
from experiments.training.task import TaskSetup
from experiments.training.trainer import train
from experiments.translate.cldr_configs import CLDR_SMOKE
from experiments.translate.configs import CONFIGS
from experiments.translate.loading import load_run
from experiments.translate.task import TranslationTask
from experiments.translate.vectors import read_sentences, sentence_vectors
from tests.experiments.commands import run

SENTENCES = "3 May\n\n1 km\n1 0 : 3 0 PM\n\n\n5 May\n"


def config(data_dir, **changes):
    """A run of seconds on the embedded phrases, in steps so large that seeds differ."""
    data = dataclasses.replace(
        CLDR_SMOKE.data, train=53, validation=5, test=7, data_dir=data_dir
    )
    changes |= {
        "model": aj.Seq2SeqConfig(embed_dim=5, hidden_dim=7, num_layers=2),
        "optimizer": OptimizerConfig(learning_rate=0.3),
    }
    return dataclasses.replace(CLDR_SMOKE, data=data, steps=2, **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data_dir):
    """Two seeds."""
    folders = [tmp_path_factory.mktemp("seq2seq") / f"seed-{n}" for n in (0, 1)]
    for seed, folder in enumerate(folders):
        train(TranslationTask, config(data_dir, seed=seed), folder)
    return folders


@pytest.mark.parametrize(("mean_over", "count"), [("tokens", 5), ("sentences", 2)])
def test_what_the_loss_is_a_mean_over(data_dir, mean_over, count):
    """A row of padding is no sentence."""
    setup = TaskSetup(aj.parallel.make_mesh(), None, lambda text: None)
    task = TranslationTask(config(data_dir, mean_over=mean_over), setup)
    assert task.unit == mean_over
    target = np.array([[5, 6, 2], [7, 2, 0], [0, 0, 0]], np.int32)
    batch = Batch(np.array([[4, 2], [5, 2], [0, 0]], np.int32), target)
    task.model = SimpleNamespace(loss=lambda *_, **__: aj.train.Loss(3.5, 5))
    assert task.loss({}, batch, None) == (3.5, count)


def test_the_published_rate_is_halved_each_half_epoch_after_the_fifth():
    name, published = CONFIGS["wmt14-seq2seq"]
    check_numbers(published)
    epoch = 12_000_000 // 128
    rate = published.optimizer.build_schedule(published.steps)
    assert published.steps == 7.5 * epoch
    for epochs, halvings in ((0, 0), (4.99, 0), (5.01, 1), (5.51, 2), (7.49, 5)):
        np.testing.assert_allclose(rate(int(epochs * epoch)), 0.7 / 2**halvings)
    assert (published.mean_over, published.optimizer.max_grad_norm) == ("sentences", 5)
    assert "paper" in name


def test_the_two_directions_differ_in_the_order_of_the_source_only():
    backwards, forwards = (
        CONFIGS[f"multi30k-seq2seq{suffix}"][1] for suffix in ("", "-forward")
    )
    model = dataclasses.replace(forwards.model, reverse_source=True)
    assert dataclasses.replace(forwards, model=model) == backwards
    assert not forwards.model.reverse_source


def test_an_ensemble_is_evaluated_and_says_how_it_combines(runs, capsys):
    options = ("--splits", "test", "--beam-size", 2, "--combine", "linear")
    assert run("evaluate", runs[0], "--ensemble", runs[1], *options) == 0
    record = json.loads((runs[0] / "ensemble.json").read_text())
    assert record["combine"] == "linear"
    assert record["members"] == [str(folder) for folder in runs]
    assert "2 runs (linear)" in capsys.readouterr().out


def test_an_ensemble_rescores_with_the_mean_that_is_named(runs, write, tmp_path):
    files = (
        *("--source", write("source", "3 May\n"), "--out", tmp_path / "out"),
        *("--nbest", write("nbest", "0 ||| 3 mai ||| LM= -1 ||| -2\n")),
    )
    source, target = (np.array([[*pair, 2]]) for pair in _ids(runs[0]))
    previous = np.insert(target[:, :-1], 0, 1, axis=1)
    apart = []
    for folder in runs:
        loaded = load_run(folder)
        model = loaded.model.rebuild(loaded.params)
        logits, _ = model(source, source != 0, previous)
        found = jax.nn.log_softmax(logits)[0]
        apart.append(np.asarray(found, np.float64))
    linear = np.logaddexp(*apart) - np.log(2)
    geometric = sum(apart) / 2
    geometric -= np.log(np.exp(geometric).sum(axis=-1, keepdims=True))
    want = {"linear": linear, "log-linear": geometric}
    for combine, log_probs in want.items():
        assert run("rescore", *runs, *files, "--combine", combine) == 0
        _, _, features, score = (tmp_path / "out").read_text().split(" ||| ")
        total = sum(log_probs[t, token] for t, token in enumerate(target[0]))
        np.testing.assert_allclose(float(features.split()[-1]), total, atol=2e-4)
        assert (features.split()[:3], score) == (["LM=", "-1", "attnjax="], "-2\n")
    assert abs((linear - geometric)[range(3), target[0]].sum()) > 1e-3


def _ids(folder):
    tokenizers = load_run(folder).model.tokenizers
    return tokenizers.source.tokenize("3 May"), tokenizers.target.tokenize("3 mai")


def test_a_sentence_is_its_final_state_in_any_company(runs, write):
    loaded = load_run(runs[0], "last")
    texts, groups = read_sentences(write("sentences", SENTENCES))
    assert texts == ["3 May", "1 km", "1 0 : 3 0 PM", "5 May"]
    assert groups == [0, 1, 1, 2]
    vectors = sentence_vectors(loaded, texts)
    assert vectors.shape == (4, 2 * 2 * 7)
    model = loaded.model.rebuild(loaded.params)
    for text, vector in zip(texts, vectors, strict=True):
        ids = np.array([[*loaded.model.tokenizers.source.tokenize(text), 2]], np.int32)
        state = model.encode(ids, ids != 0)
        want = np.concatenate([x[0] for x in jax.tree.leaves(state.layers)])
        np.testing.assert_allclose(vector, want, rtol=1e-5, atol=1e-6)


def test_the_picture_of_sentences(runs, write, tmp_path, capsys):
    out = tmp_path / "vectors.png"
    given = ("--sentences", write("sentences", SENTENCES))
    assert run("vectors", runs[0], *given, "--out", out) == 0
    assert imread(out).std() > 0
    assert "drew 4 sentences" in capsys.readouterr().err


def test_what_cannot_be_drawn_is_named(runs, smoke_run, write, tmp_path, capsys):
    sentences, few = write("sentences", SENTENCES), write("few", "3 May\n\n1 km\n")
    png, gif = tmp_path / "a.png", tmp_path / "a.gif"
    for folder, file, out, message in (
        (runs[0], few, png, "expected three or more sentences to compare, got 2"),
        (runs[0], sentences, gif, "expected a name that ends in .png or .svg"),
        (smoke_run, sentences, png, "encodes a sentence as one vector, got RNNSearch"),
    ):
        assert run("vectors", folder, "--sentences", file, "--out", out) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("a.*"))


def test_it_has_no_alignment(runs, write, capsys):
    pairs = ("--source", write("a", "3 May\n"), "--target", write("b", "3 mai\n"))
    assert run("align", runs[0], *pairs) == 2
    message = "expected one with attention, got Seq2Seq, which aligns nothing"
    assert message in capsys.readouterr().err
