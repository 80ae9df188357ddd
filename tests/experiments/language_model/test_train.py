"""Training language models from the real command line: killed, spread, misused."""

import gzip
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from experiments.language_model.configs import CONFIGS
from experiments.language_model.loading import load_run
from tests.experiments import commands
from tests.experiments.commands import (
    TINY_GPT,
    contents,
    finish,
    record,
)
from tests.experiments.disturbed import (
    check_a_kill_changes_nothing,
    check_curves_agree,
    launch_two,
)

run = partial(commands.run, program="language_model")


@pytest.fixture(autouse=True)
def prepared(data_dir, monkeypatch):
    """Keeps what is prepared out of the user's cache."""
    monkeypatch.setenv("ATTNJAX_DATA_DIR", str(data_dir))


def train(folder: Path, corpus: Path, kind: str = "characters") -> tuple[object, ...]:
    return (
        *("train", "text", "--out", folder, "--data.text", corpus),
        *("--tokenizer.kind", kind, *TINY_GPT),
    )


def test_killed_and_started_again_it_ends_with_the_same_bits(
    language_run, corpus, data_dir, cache, tmp_path
):
    check_a_kill_changes_nothing(
        *(*train(tmp_path / "run", corpus), "--data.data-dir", data_dir),
        out=tmp_path / "run",
        undisturbed=language_run,
        cache=cache,
        program="language_model",
    )


def test_the_loss_is_the_same_on_one_device_and_in_two_processes(
    language_run, corpus, tmp_path
):
    command = train(tmp_path / "2x2", corpus)
    for code, err in finish(*launch_two(*command, program="language_model")):
        assert code == 0, err
    check_curves_agree(tmp_path / "2x2", language_run)
    np.testing.assert_allclose(
        *(
            record(folder)[-1]["validation/loss"]
            for folder in (language_run, tmp_path / "2x2")
        ),
        rtol=1e-4,
    )


def test_what_a_run_leaves_behind(language_run):
    names = {path.name for path in language_run.iterdir() if path.name[0] != "."}
    assert names == {
        *("config.json", "metrics.jsonl", "tensorboard", "checkpoints"),
        *("tokenizer.json", "data.json"),
    }
    lines = record(language_run)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert [line["tokens"] for line in lines] == [8 * 11 * n for n in range(1, 9)]
    for line in lines:
        measured = {k for k in line if k.startswith("validation/")}
        want = {
            f"validation/{name}"
            for name in (
                *("loss", "perplexity", "bits_per_character", "bits_per_byte"),
                "perplexity_per_word",
            )
        }
        assert measured == (want if line["step"] % 4 == 0 else set())
    config = json.loads((language_run / "config.json").read_text())
    assert config["model"]["block"]["d_model"] == 6


def check_use(folder: Path, prompt: str, capsysbinary) -> float:
    """Evaluates a run and samples from it; the loss of its validation text."""
    assert run("evaluate", folder) == 0
    record = json.loads((folder / "evaluation.json").read_text())
    capsysbinary.readouterr()
    assert run("sample", folder, "--tokens", 20, "--prompt", prompt) == 0
    assert capsysbinary.readouterr().out.decode().startswith(prompt)
    return record["texts"]["validation"]["loss"]


def test_subword_pieces_are_trained_evaluated_and_sampled(
    pieces_run, tmp_path, capsysbinary
):
    folder = Path(shutil.copytree(pieces_run, tmp_path / "run"))
    assert load_run(folder).model.tokenizer.vocab_size == 61
    assert [path.name for path in folder.glob("tokenizer.*")] == ["tokenizer.model"]
    # Eight steps learn little: the loss is near that of uniform predictions.
    assert 1 < check_use(folder, "line 4", capsysbinary) < np.log(61) + 0.1


def test_a_tiny_model_learns_the_order_of_bytes(tmp_path, capsysbinary):
    path = tmp_path / "text"
    path.write_text("abcdefg" * 3_000, encoding="utf-8")
    command = (
        *(*train(tmp_path / "run", path, "bytes"), "--steps", 400, "--eval-every", 400),
        *("--save-every", 0, "--log-every", 50, "--model.block.dropout", 0),
        *("--model.block.position-embedding", "rope"),
        *("--optimizer.learning-rate", 0.02),
    )
    assert run(*command) == 0
    # Of 2,100 tokens only the first, after a newline, and the last are not certain.
    assert record(tmp_path / "run")[-1]["validation/loss"] < 0.1
    assert load_run(tmp_path / "run").model.tokenizer.vocab_size == 256
    assert not list((tmp_path / "run").glob("tokenizer.*"))  # bytes need no file
    assert check_use(tmp_path / "run", "cdefg", capsysbinary) < 0.1


def test_an_existing_run_is_not_touched(language_run, corpus, capsys):
    before = contents(language_run)
    assert run(*train(language_run, corpus)) == 2
    assert "got one that holds a run (add --resume" in capsys.readouterr().err
    changed = (*train(language_run, corpus), "--resume", "--model.num-layers", 3)
    assert run(*changed) == 2
    assert "model.num_layers: 2 saved, 3 now" in capsys.readouterr().err
    assert contents(language_run) == before


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Text files, sound and not."""
    good = "".join(f"a sentence with the number {n}\n" for n in range(40))
    (tmp_path / "good").write_text(good)
    (tmp_path / "short").write_text("fifty characters, which is too few for a context")
    (tmp_path / "latin").write_bytes(good.encode().replace(b"number 3\n", b"\xe9\n"))
    (tmp_path / "nothing").write_text("")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(good.encode())[:-9])
    (tmp_path / "empty").mkdir()
    return tmp_path


TEXT = ("text", "--data.text")
GOOD = (*TEXT, "good")

BAD = {
    "no text": (("text",), "data.text: expected training files, got none"),
    "no file": ((*GOOD, "absent"), "absent: expected a file, got nothing of that"),
    "a folder": ((*TEXT, "empty"), "empty: expected a file, got a folder"),
    "empty file": ((*TEXT, "nothing"), "nothing: expected lines of text, got an empty"),
    "encoding": (
        (*TEXT, "latin"),
        "latin: expected UTF-8, got byte 0xe9 in line 4, at byte",
    ),
    "cut gzip": ((*TEXT, "cut.gz"), "cut.gz: expected a whole gzip file"),
    "validation file": (
        (*GOOD, "--data.validation", "nothing"),
        "nothing: expected lines of text, got an empty file",
    ),
    "no validation": (
        (*GOOD, "--data.held-out", 0),
        "validation: expected text, got none",
    ),
    "held out": (
        (*GOOD, "--data.held-out", 1),
        "data.held_out: expected 0 or more and less than 1, got 1.0",
    ),
    "short": (
        (*TEXT, "short"),
        "train: expected a text of more than 64 tokens (the context), got 44",
    ),
    "no folder": (("wikitext2",), "raw_dir: expected the folder of wiki.train.tokens"),
    "empty folder": (
        ("shakespeare-char", "--data.raw-dir", "empty"),
        "raw_dir: expected files, got an empty folder",
    ),
    "other folder": (
        ("shakespeare-char", "--data.raw-dir", "."),
        "raw_dir: expected input.txt (or with .gz), got no such file in",
    ),
    "pieces": (
        (*GOOD, "--tokenizer.kind", "bpe"),
        "tokenizer: vocab_size: expected at most",
    ),
    "rows": (
        (*GOOD, "--batch-size", 13),
        "batch_size: expected a multiple of 2 (of 2 devices x 1 accumulation steps), "
        "got 13",
    ),
    "parts": (
        (*GOOD, "--accumulation-steps", 5),
        "batch_size: expected a multiple of 10 (of 2 devices x 5 accumulation steps), "
        "got 12",
    ),
    "heads": (
        (*GOOD, "--model.block.num-heads", 5),
        "model: num_heads: expected a divisor of d_model = 128, got 5",
    ),
    "context": (
        (*GOOD, "--model.max-length", 0),
        "model.max_length: expected at least 1",
    ),
    "steps": ((*GOOD, "--steps", 0), "steps: expected at least 1, got 0"),
    "seed": ((*GOOD, "--seed", -1), "seed: expected at least 0, got -1"),
    "dropout": (
        (*GOOD, "--model.block.dropout", 1),
        "model.block.dropout: expected 0 or more and less than 1, got 1.0",
    ),
    "decay": (
        (*GOOD, "--optimizer.weight-decay", "nan"),
        "optimizer.weight_decay: expected at least 0, got nan",
    ),
    "process": (
        (*GOOD, "--processes.process-id", 0),
        "processes: coordinator, num_processes, process_id: expected all three or none",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_named_and_leaves_no_run(
    arguments, message, texts, capsys, monkeypatch
):
    monkeypatch.chdir(texts)
    before = contents(texts)
    assert run("train", *arguments, "--out", "out") == 2
    err = capsys.readouterr().err
    assert f"error: {message}" in err
    assert "Traceback" not in err
    assert not (texts / "out").exists()
    assert contents(texts) == before


def test_an_unknown_config_is_named_with_those_there_are(capsys):
    assert run("train", "shakespear") == 2
    err = capsys.readouterr().err
    assert "shakespear" in err
    assert "shakespeare-char" in err


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_says_its_settings_in_help(name, capsys):
    assert run("train", name, "--help") == 0
    text = capsys.readouterr().out
    for flag in (
        "--out",
        "--resume",
        "--model.max-length",
        "--data.",
        "--batch-size",
    ):
        assert flag in text


def test_the_smoke_config_runs(tmp_path, capsys):
    assert run("train", "smoke", "--out", tmp_path / "run") == 0
    assert (
        "next: python -m experiments.language_model sample" in capsys.readouterr().err
    )
