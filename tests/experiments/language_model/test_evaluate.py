"""Measuring language models from the real command line."""

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from attnjax import BlockConfig
from attnjax.models.gpt import GPTConfig
from attnjax.parallel import make_mesh
from experiments.datasets.text.datasets import PennTreebank, TinyShakespeare
from experiments.datasets.tokenizers.text import TextTokenizerConfig
from experiments.language_model.config import DataConfig
from experiments.language_model.configs import CONFIGS
from experiments.language_model.evaluation import evaluate
from experiments.language_model.loading import LoadedRun, load_run
from experiments.language_model.model import build_model
from experiments.language_model.text_metrics import TextMetrics
from experiments.runs.folder import Run
from tests.experiments import commands
from tests.experiments.commands import contents
from tests.experiments.language_model.stepping import CONTEXT, logits_of

run = partial(commands.run, program="language_model")


def nats(loaded, text: str, context: int = 0) -> tuple[float, int]:
    """A loop over windows, one token after the other: their nats, and how many."""
    model, tokenizer = logits_of(loaded), loaded.model.tokenizer
    ids = [tokenizer.newline, *tokenizer.tokenize(text)]
    total, count = 0.0, 0
    for start in range(0, len(ids) - 1 - context, CONTEXT - context):
        window = ids[start : start + CONTEXT]
        logits = model(window)
        for t, target in enumerate(ids[start + 1 : start + CONTEXT + 1]):
            if start and t < context:
                continue
            row = np.asarray(logits[t], np.float64)
            total += np.log(np.exp(row).sum()) - row[target]
            count += 1
    return total, count


def test_every_token_of_the_validation_text_is_counted_once(evaluated, loaded, corpus):
    text = corpus.read_text(encoding="utf-8")
    text = text[int(len(text) * 0.9) :]
    total, count = nats(loaded, text)
    record = json.loads((evaluated / "evaluation.json").read_text())
    assert list(record["texts"]) == ["validation"]
    score = record["texts"]["validation"]
    assert score["tokens"] == score["characters"] == count == len(text)
    assert count % CONTEXT  # so that the last window is not full
    assert score["bytes"] == len(text.encode()) > len(text)
    assert score["unknown"] == 0
    np.testing.assert_allclose(score["loss"], total / count, rtol=1e-5)
    np.testing.assert_allclose(
        [score["perplexity"], score["bits_per_character"], score["bits_per_byte"]],
        [
            np.exp(total / count),
            total / np.log(2) / count,
            total / np.log(2) / score["bytes"],
        ],
        rtol=1e-5,
    )


def test_the_best_checkpoints_loss_is_what_training_found(evaluated, loaded):
    record = json.loads((evaluated / "evaluation.json").read_text())
    lines = {line["step"]: line for line in Run.open(evaluated).metrics()}
    want = lines[record["step"]]["validation/loss"]
    assert want == min(lines[step]["validation/loss"] for step in (4, 8))
    np.testing.assert_allclose(record["texts"]["validation"]["loss"], want, rtol=1e-6)


def test_other_texts_can_be_measured_each_apart(
    language_run, loaded, tmp_path, data_dir, capsys
):
    folder = Path(shutil.copytree(language_run, tmp_path / "run"))
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a café\n")
    two.write_text("words of a line\n" * 5)
    chosen = ("--text", one, two, "--checkpoint", "last")
    assert run("evaluate", folder, *chosen) == 0
    texts = json.loads((folder / "evaluation.json").read_text())["texts"]
    assert list(texts) == [str(one), str(two)]
    last = load_run(language_run, "last", mesh=make_mesh(1))
    for path in (one, two):
        total, count = nats(last, path.read_text())
        np.testing.assert_allclose(texts[str(path)]["loss"], total / count, rtol=1e-5)
    out, err = capsys.readouterr()
    assert f"evaluating {two}: 80 tokens" in err
    table = [line.split() for line in out.splitlines()]
    assert table[0] == ["step", "8,", *out.splitlines()[0].split()[2:]]
    assert table[3][:4] == [str(two), "80", "0", f"{texts[str(two)]['loss']:.4f}"]


@pytest.fixture
def treebank(tmp_path):
    """Lines with a blank at both ends, as those of the Penn Treebank have."""
    for name, count in (("train", 9), ("valid", 2), ("test", 3)):
        lines = (f" the cat saw {'N ' * n}dogs <unk> \n" for n in range(count))
        (tmp_path / f"ptb.{name}.txt").write_text("".join(lines))
    return PennTreebank(raw_dir=tmp_path)


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_a_file_is_read_as_the_data_set_reads_its_own(treebank, data_dir, kind):
    config = dataclasses.replace(
        CONFIGS["ptb-char-laptop"][1],
        data=treebank,
        tokenizer=TextTokenizerConfig(kind=kind, vocab_size=50),
        model=GPTConfig(
            num_layers=1,
            max_length=CONTEXT,
            block=BlockConfig(d_model=6, num_heads=3, d_ff=7, dropout=0.0),
        ),
    )
    model, params = build_model(config, config.tokenizer.train(treebank.splits()))
    folder = SimpleNamespace(output=lambda name: treebank.raw_dir / name)
    loaded = LoadedRun(folder, config, model, params, 0, make_mesh(1))
    file = treebank.raw_dir / "ptb.test.txt"
    want = evaluate(loaded)["texts"]["test"]
    assert evaluate(loaded, texts=[file])["texts"] == {str(file): want}
    assert want["characters"] == len(file.read_text()) - 2 * 3


def test_files_are_read_by_the_class_of_each_data_sets_texts(treebank):
    folder = treebank.raw_dir
    for name in ("train", "valid", "test"):
        (folder / f"wiki.{name}.tokens").write_text("a line\n")
    (folder / "enwik8").write_text("a line\n" * 99)
    file = folder / "ptb.test.txt"
    for kind in get_args(DataConfig):
        fields = {field.name for field in dataclasses.fields(kind)}
        given = {"raw_dir": folder, "text": (file,)}
        if kind is TinyShakespeare:
            (folder / "input.txt").write_text("a line\n" * 9)
        data = kind(**{name: given[name] for name in fields & set(given)})
        classes = {type(text) for text in data.splits().values()}
        assert classes == {type(data.read_as(file))}, kind


def test_windows_may_overlap_so_that_every_token_has_a_context(
    language_run, loaded, tmp_path
):
    folder = Path(shutil.copytree(language_run, tmp_path / "run"))
    text = tmp_path / "text"
    text.write_text("a line of words\nline 12 of a café has 3\n")
    assert run("evaluate", folder, "--text", text, "--context-tokens", 7) == 0
    record = json.loads((folder / "evaluation.json").read_text())
    total, count = nats(loaded, text.read_text(), context=7)
    assert count == record["texts"][str(text)]["tokens"] == len(text.read_text())
    assert record["context_tokens"] == 7
    np.testing.assert_allclose(
        record["texts"][str(text)]["loss"], total / count, rtol=1e-5
    )


def test_bits_of_a_text_with_unknown_words_are_not_claimed(pieces, tmp_path, capsys):
    text = tmp_path / "text"
    text.write_text("a line of ζ words\n")
    assert run("evaluate", pieces.run.folder, "--text", text) == 0
    record = json.loads((pieces.run.folder / "evaluation.json").read_text())
    score = record["texts"][str(text)]
    assert score["unknown"] == 1
    assert score["loss"] > 0
    assert "bits_per_character" not in score
    assert "bits_per_byte" not in score


BAD_TEXTS = {
    "absent": (("--text", "absent"), "absent: expected a file, got nothing of that"),
    "empty": (("--text", "nothing"), "nothing: expected lines of text, got an empty"),
    "encoding": (("--text", "latin"), "latin: expected UTF-8, got byte 0xe9 in line 1"),
    "character": (
        ("--text", "good", "strange"),
        "strange, line 2: expected the 26 characters of the training data, "
        "got 'Z' (U+005A)",
    ),
    "context": (
        ("--context-tokens", CONTEXT),
        f"context_tokens: expected 0 to {CONTEXT - 1}, got {CONTEXT} (a window has",
    ),
    "raw data": (("--raw-dir", "."), "raw_dir: expected none (this run's text is no"),
}


@pytest.mark.parametrize(
    ("arguments", "message"), BAD_TEXTS.values(), ids=BAD_TEXTS.keys()
)
def test_bad_texts_are_named_and_change_nothing(
    arguments, message, language_run, tmp_path, monkeypatch, capsys
):
    (tmp_path / "good").write_text("a line\n")
    (tmp_path / "strange").write_text("a line\nZ\n")
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    (tmp_path / "nothing").write_text("")
    monkeypatch.chdir(tmp_path)
    before = contents(language_run)
    assert run("evaluate", language_run, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: {message}" in err
    assert contents(language_run) == before


COUNTS = {"tokens": 3, "unknown": 0, "characters": 3, "bytes": 3, "words": 1}


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    found = TextMetrics(**COUNTS, loss=np.log(50)).metrics
    np.testing.assert_allclose(found["perplexity"], 50)
    np.testing.assert_allclose(found["bits_per_character"], np.log2(50))
    np.testing.assert_allclose(found["perplexity_per_word"], 50**3)


def test_the_perplexity_of_a_diverged_run_is_inf():
    found = TextMetrics(**COUNTS, loss=1e4).metrics
    assert found["perplexity"] == float("inf")
    np.testing.assert_allclose(found["bits_per_byte"], 1e4 / np.log(2))
