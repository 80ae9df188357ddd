"""Evaluating from the real command line, against numbers found another way."""

import dataclasses
import io
import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import sacrebleu

from attnjax.align import alignment, alignment_error_rate, parse_pharaoh
from experiments.training.metrics import perplexity
from experiments.translate.aligning import align_pairs, score_links
from experiments.translate.alignments import Extraction
from experiments.translate.config import GuidedAlignmentConfig
from experiments.translate.data import read_splits
from experiments.translate.evaluation import Evaluator
from experiments.translate.loading import load_run
from experiments.translate.translator import Translator
from tests.experiments.commands import contents, run
from tests.experiments.stepping import stepper


@pytest.fixture(scope="module")
def evaluated(smoke_run, tmp_path_factory) -> Path:
    """A copy of the run, evaluated."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(smoke_run, folder)
    assert run("evaluate", folder) == 0
    return folder


@pytest.fixture(scope="module")
def record(evaluated) -> dict:
    return json.loads((evaluated / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def loaded(evaluated):
    return load_run(evaluated)


@pytest.fixture(scope="module")
def splits(loaded):
    return read_splits(loaded.config.data)


def test_it_scores_every_split_but_the_training_data(record):
    assert list(record["splits"]) == ["validation", "test"]
    assert [scores["pairs"] for scores in record["splits"].values()] == [7, 11]


def test_bleu_is_that_of_what_decode_writes(
    evaluated, record, splits, monkeypatch, capsysbinary
):
    text = "\n".join(pair.source for pair in splits["test"]).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run("decode", evaluated) == 0
    written = capsysbinary.readouterr().out.decode().splitlines()
    gold = [pair.target for pair in splits["test"]]
    scores = record["splits"]["test"]
    bleu = sacrebleu.corpus_bleu(written, [gold], tokenize="none").score
    np.testing.assert_allclose(scores["bleu"], bleu)
    chrf = sacrebleu.corpus_chrf(written, [gold]).score
    np.testing.assert_allclose(scores["chrf"], chrf)
    exact = np.mean([w == g for w, g in zip(written, gold, strict=True)])
    assert scores["exact_match"] == exact
    assert scores["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:none|")
    assert scores["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|")


def test_perplexity_and_aer_are_those_of_stepping_through_each_reference(
    loaded, splits, record
):
    step_through, log_probs, links = stepper(loaded), [], []
    for pair in splits["validation"]:
        found, weights = step_through(pair.source, pair.target)
        log_probs.extend(found)
        best, last = weights.argmax(axis=1), weights.shape[1] - 1
        # EOS, the last position of either side, has no link.
        links.append(
            alignment([(int(s), t) for t, s in enumerate(best[:-1]) if s != last])
        )
    scores = record["splits"]["validation"]
    np.testing.assert_allclose(
        scores["perplexity"], np.exp(-np.mean(log_probs)), rtol=1e-4
    )
    gold = [parse_pharaoh(pair.alignment) for pair in splits["validation"]]
    want = alignment_error_rate(links, gold)
    # Weights of equal size may tie otherwise: a link or two.
    assert abs(scores["aer"] - want.aer) < 0.02
    assert abs(scores["recall"] - want.recall) < 0.02


def test_aer_is_that_of_the_row_the_run_was_trained_on(loaded, splits, monkeypatch):
    """Against `align`, whose default it is; the other row has another AER."""
    guided = GuidedAlignmentConfig(links=Path("links"), row="after")
    leaves, tree = jax.tree.flatten(loaded.params)
    rng = np.random.default_rng(0)
    noisy = [x + rng.normal(size=x.shape).astype(np.float32) for x in leaves]
    changed = loaded._replace(
        config=dataclasses.replace(loaded.config, guided_alignment=guided),
        params=jax.tree.unflatten(tree, noisy),
    )
    test = splits["test"]
    # Neither is in question, and both take long to compile.
    monkeypatch.setattr(Translator, "translate", lambda *_, **__: [[]] * len(test))
    monkeypatch.setattr(Translator, "nats_per_token", lambda *_: 0.0)
    translator = changed.build_translator()
    found = Evaluator(changed, translator, {"test": test}, "none").evaluate("test")
    pairs = [(pair.source, pair.target) for pair in test]
    gold = [parse_pharaoh(pair.alignment) for pair in test]

    def align(row):
        aligned = align_pairs(changed, pairs, Extraction(row=row))
        return score_links(aligned.links, gold)["forward"]

    assert align(None) == align("after")
    assert align("after").aer != align("before").aer
    got = found["aer"], found["precision"], found["recall"]
    assert got == align("after")[:3]


def test_lengths_are_cut_alike_for_all_splits(record, splits):
    for name, scores in record["splits"].items():
        lengths = [len(pair.source.split()) for pair in splits[name]]
        for bucket in scores["by_length"]:
            inside = [bucket["low"] <= n <= bucket["high"] for n in lengths]
            assert bucket["count"] == sum(inside) > 0
        assert sum(bucket["count"] for bucket in scores["by_length"]) == len(lengths)


def test_the_picture_is_there(evaluated):
    picture = evaluated / "pictures" / "bleu_by_length.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_one_split_of_another_checkpoint_can_be_chosen(smoke_run, tmp_path, capsys):
    folder = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    chosen = ("--splits", "test", "--checkpoint", "last", "--beam-size", 1)
    assert run("evaluate", folder, *chosen) == 0
    out, err = capsys.readouterr()
    record = json.loads((folder / "evaluation.json").read_text())
    assert list(record["splits"]) == ["test"]
    assert record["step"] == 8
    assert record["search"]["beam_size"] == 1
    assert "translating test: 11 sentences" in err
    header = ["split", "pairs", "BLEU", "chrF", "exact match", "perplexity", "AER"]
    table = [line.split() for line in out.splitlines()]
    assert table[1] == [*header[:4], *header[4].split(), *header[5:]]
    assert table[2][:3] == ["test", "11", f"{record['splits']['test']['bleu']:.2f}"]
    assert any(line.startswith("BLEU|nrefs:1|") for line in out.splitlines())


BAD = {
    "split": (
        ("--splits", "test", "dev"),
        "splits: expected some of train, validation, test, got dev",
    ),
    "raw data": (("--raw-dir", "."), "raw_dir: expected none (this run's data are"),
    "long": (
        ("--max-source-length", 1),
        "validation: line 1: expected at most 1 tokens, got",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_named_and_changes_nothing(arguments, message, smoke_run, capsys):
    before = contents(smoke_run)
    assert run("evaluate", smoke_run, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: {message}" in err
    assert contents(smoke_run) == before
    assert not (smoke_run / "pictures").exists()


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    assert run("evaluate", tmp_path) == 2
    assert "a run, got one without config.json" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_perplexity_of_a_diverged_run_is_inf(
    smoke_run, tmp_path, monkeypatch, capsys
):
    folder = shutil.copytree(smoke_run, tmp_path / "run")
    monkeypatch.setattr(Translator, "nats_per_token", lambda *_: 1e4)
    assert run("evaluate", folder, "--splits", "test", "--beam-size", 1) == 0
    record = json.loads((folder / "evaluation.json").read_text())
    assert record["splits"]["test"]["perplexity"] == float("inf")
    assert " inf " in capsys.readouterr().out


@pytest.mark.parametrize("nats", [0.0, 1.5, 700.0, -3.0])
def test_perplexity_is_numpys_exponential(nats):
    np.testing.assert_allclose(perplexity(nats), np.exp(nats), rtol=1e-15)


@pytest.mark.parametrize(
    ("nats", "want"), [(710.0, np.inf), (np.inf, np.inf), (np.nan, np.nan)]
)
def test_perplexity_has_limits(nats, want):
    np.testing.assert_equal(perplexity(nats), want)
