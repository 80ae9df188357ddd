"""Training from the real command line: killed, spread over devices, misused."""

import gzip
import json
import shutil
from pathlib import Path

import chex
import numpy as np
import pytest

from experiments.runs.folder import Run
from experiments.translate.configs import CONFIGS
from tests.experiments.commands import (
    TINY,
    contents,
    finish,
    launch,
    record,
    run,
)
from tests.experiments.disturbed import (
    check_a_kill_changes_nothing,
    check_curves_agree,
    launch_two,
)


@pytest.fixture(autouse=True)
def prepared(data_dir, monkeypatch):
    """Keeps what bad data leave behind out of the user's cache."""
    monkeypatch.setenv("ATTNJAX_DATA_DIR", str(data_dir))


def train(folder: Path, data_dir: Path) -> tuple[object, ...]:
    return (
        *("train", "cldr-smoke", "--out", folder, "--data.data-dir", data_dir),
        *TINY,
    )


def test_killed_and_started_again_it_ends_with_the_same_bits(
    smoke_run, data_dir, cache, tmp_path
):
    check_a_kill_changes_nothing(
        *train(tmp_path / "run", data_dir),
        out=tmp_path / "run",
        undisturbed=smoke_run,
        cache=cache,
        program="translate",
    )


def test_the_loss_is_the_same_on_one_device_on_eight_and_in_two_processes(
    smoke_run, data_dir, tmp_path
):
    peers = launch_two(*train(tmp_path / "2x2", data_dir), program="translate")
    eight = launch(*train(tmp_path / "8", data_dir), devices=8)
    for code, err in finish(*peers, eight):
        assert code == 0, err
    for name in ("8", "2x2"):
        check_curves_agree(tmp_path / name, smoke_run)
        chex.assert_trees_all_close(
            Run.open(tmp_path / name).load_params("last"),
            Run.open(smoke_run).load_params("last"),
            rtol=1e-3,
            atol=1e-5,
        )


def test_what_a_run_leaves_behind(smoke_run):
    names = {path.name for path in smoke_run.iterdir() if path.name[0] != "."}
    assert names == {
        *("config.json", "metrics.jsonl", "tensorboard", "checkpoints"),
        *("source.json", "target.json", "data.json"),
    }
    lines = record(smoke_run)
    assert [line["step"] for line in lines] == list(range(1, 9))
    for line in lines:
        measured = {k for k in line if k.startswith("validation/")}
        want = {"validation/bleu", "validation/exact_match", "validation/loss"}
        assert measured == (want if line["step"] % 4 == 0 else set())


def test_an_existing_run_is_not_touched(smoke_run, data_dir, capsys):
    before = contents(smoke_run)
    assert run(*train(smoke_run, data_dir)) == 2
    assert "got one that holds a run (add --resume" in capsys.readouterr().err
    changed = (*train(smoke_run, data_dir), "--resume", "--model.hidden-dim", 11)
    assert run(*changed) == 2
    assert "model.hidden_dim: 7 saved, 11 now" in capsys.readouterr().err
    assert contents(smoke_run) == before


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Text files, sound and not."""
    lines = [f"a sentence with the number {n}" for n in range(40)]
    good = "\n".join(lines) + "\n"
    (tmp_path / "good").write_text(good)
    (tmp_path / "repeated").write_text("".join(f"{n % 8}\n" for n in range(320)))
    (tmp_path / "short").write_text("\n".join(lines[:-1]) + "\n")
    (tmp_path / "gaps").write_text(good.replace(lines[3], "").replace(lines[7], " "))
    (tmp_path / "latin").write_bytes(good.encode().replace(b"number 3\n", b"\xe9\n"))
    (tmp_path / "nothing").write_text("")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(good.encode())[:-9])
    (tmp_path / "empty").mkdir()
    return tmp_path


TEXT = ("text-rnnsearch", "--tokenizer.kind", "words", "--data.train", "good")
HELD_OUT = ("--data.held-out-validation", 5)
CAPTIONS = ("multi30k-rnnsearch", "--data.raw-dir")

BAD = {
    "unequal": (
        (*TEXT, "short", *HELD_OUT),
        "expected equally many lines, got 40 in DIR/good and 39 in",
    ),
    "empty lines": (
        (*TEXT, "gaps", *HELD_OUT),
        "DIR/gaps: expected a sentence in every line, got 2 empty (line 4, 8; fix",
    ),
    "encoding": (
        (*TEXT, "latin", *HELD_OUT),
        "DIR/latin: expected UTF-8, got byte 0xe9 in line 4, at byte",
    ),
    "empty file": ((*TEXT, "nothing"), "DIR/nothing: expected lines of text, got"),
    "no file": ((*TEXT, "absent"), "DIR/absent: expected a file, got nothing of"),
    "cut gzip": ((*TEXT, "cut.gz", *HELD_OUT), "cut.gz: expected a whole gzip file"),
    "three files": ((*TEXT, "good", "good"), "train: expected two line-aligned files"),
    "no validation": ((*TEXT, "good"), "data: expected pairs for validation, got none"),
    "no folder": ((*CAPTIONS, "absent"), "raw_dir: expected a folder, got nothing of"),
    "empty folder": ((*CAPTIONS, "empty"), "raw_dir: expected files, got an empty"),
    "other folder": ((*CAPTIONS, "."), "raw_dir: expected train.en and train.de"),
    "pair": (
        ("cldr-smoke", "--data.pair", "en-xx"),
        "pair: expected two different locales such as en-fr, got 'en-xx' (xx: unknown)",
    ),
    "size": (("cldr-smoke", "--data.test", 0), "test: expected at least 1 phrase"),
    "steps": (("cldr-smoke", "--steps", 0), "steps: expected at least 1, got 0"),
    "many steps": (
        ("cldr-smoke", "--steps", 10**20),
        "steps: expected at most 2147483647, got 100000000000000000000",
    ),
    "seed": (
        ("cldr-smoke", "--seed", 2**63),
        "seed: expected at most 9223372036854775807, got",
    ),
    "infinite rate": (
        ("cldr-smoke", "--optimizer.learning-rate", "inf"),
        "optimizer.learning_rate: expected a finite number, got inf",
    ),
    "repeated pairs": (
        ("text-rnnsearch", "--data.train", *2 * ("repeated",), *HELD_OUT[:1], 40),
        "held_out: expected training pairs whose source is in no held-out pair, got",
    ),
    "no home": (
        (*TEXT, "~nobody-of-that-name/x"),
        "~nobody-of-that-name/x: expected a path, got: Could not determine home",
    ),
    "dropout": (
        ("cldr-smoke", "--model.dropout", 1),
        "model.dropout: expected 0 or more and less than 1, got 1.0",
    ),
    "rate": (
        ("cldr-smoke", "--optimizer.learning-rate", -1),
        "optimizer.learning_rate: expected at least 0, got -1.0",
    ),
    "tied": (
        ("cldr-smoke", "--model.tie-output", "--model.readout-dim", 63),
        "model: readout_dim: expected 64, got 63 (with tie_output",
    ),
    "budget": (
        ("cldr-smoke", "--batch-tokens", 90),
        "batch_tokens: expected at least",
    ),
    "sentences": (
        ("cldr-smoke", "--batch-size", 81),
        "batch_size: expected a multiple of 8",
    ),
    "too short": (
        (*TEXT, "good", *HELD_OUT, "--max-length", 2),
        "expected examples that are short enough to train on, got none among 35 (max",
    ),
    "source limit": (
        ("cldr-smoke", "--max-source-length", 5),
        "expected at most 5 tokens, got",
    ),
    "process": (
        ("cldr-smoke", "--processes.process-id", 0),
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
    assert message.replace("DIR", str(texts)) in err
    assert "\nerror: " in "\n" + err
    assert "Traceback" not in err
    assert not (texts / "out").exists()
    assert contents(texts) == before


def test_an_unknown_config_is_named_with_those_there_are(capsys):
    assert run("train", "cldr-en-tlh") == 2
    err = capsys.readouterr().err
    assert "cldr-en-tlh" in err
    assert "cldr-smoke" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trian", "cldr-smoke"), "command: expected one of train, evaluate, decode, "),
        (("trian", "cldr-smoke"), ", got 'trian' (did you mean train?)"),
        (("train", "text-transfomer"), "(did you mean text-transformer?)"),
        (("train", "mulit30k-rnnsearch"), "(did you mean multi30k-rnnsearch?)"),
        (("train", "qqq"), "got 'qqq' (see --help)"),
        (("train", "cldr-smoke", "--bacth-tokens", 9), "--batch-tokens"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(words, message, capsys):
    assert run(*words) == 2
    assert message in capsys.readouterr().err


def test_a_folder_with_other_things_is_not_touched(texts, capsys):
    before = contents(texts)
    assert run("train", "cldr-smoke", "--out", texts) == 2
    assert "got one with other files (name another folder" in capsys.readouterr().err
    assert contents(texts) == before


def test_the_papers_run_has_80_sentences_in_every_batch():
    from experiments.datasets.pairs.tokenized import TokenizedPairs
    from experiments.translate.batch_shapes import plan_batches

    draw = np.random.default_rng(3)
    lengths = draw.integers(1, 70, (3000, 2))
    rows = [[[4] * n for n in side] for side in lengths.T]
    config = CONFIGS["wmt14-rnnsearch-50"][1]
    batches = plan_batches(config, TokenizedPairs(*rows), devices=2)
    assert {shape.rows for shape in batches.shapes} == {80}
    assert batches.dropped == (lengths > 50).any(axis=1).sum()
    assert len(batches.shapes) > 3
    assert batches.batch(0).source.shape[0] == 80


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_says_its_settings_in_help(name, capsys):
    assert run("train", name, "--help") == 0
    text = capsys.readouterr().out
    for flag in ("--out", "--resume", "--model.", "--data.", "--steps"):
        assert flag in text


def test_settings_are_kept_in_the_folder(smoke_run):
    config = json.loads((smoke_run / "config.json").read_text())
    assert config["model"]["hidden_dim"] == 7
    assert config["data"]["pair"] == "en-fr"


def test_a_resumed_run_may_read_its_data_from_elsewhere(
    smoke_run, data_dir, tmp_path, capsys
):
    folder = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    elsewhere = Path(shutil.copytree(data_dir, tmp_path / "elsewhere"))
    assert run(*train(folder, elsewhere), "--resume") == 0
    assert "run: 8 steps were done already" in capsys.readouterr().err
    chex.assert_trees_all_equal(
        Run.open(folder).load_params("last"), Run.open(smoke_run).load_params("last")
    )


def test_the_lock_is_no_traceback_where_nothing_can_be_written(
    smoke_run, data_dir, tmp_path, monkeypatch, capsys
):
    folder = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    shutil.rmtree(folder / "tensorboard")
    (folder / ".lock").unlink(missing_ok=True)
    (folder / ".lock").mkdir()
    assert run(*train(folder, data_dir), "--resume") == 2
    assert f"error: {folder}/.lock: expected a lock file that can be written, " in (
        capsys.readouterr().err
    )
