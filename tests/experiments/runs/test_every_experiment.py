"""Every experiment keeps the promise of `test_faults`: the code is one."""

import importlib
import re
import shutil
from pathlib import Path

import chex
import pytest

from tests.experiments.commands import contents, run
from tests.sharing import made_once

# The config of each experiment that is trained, and its file of words or symbols.
EXPERIMENTS = {
    "algorithms": ("smoke", None),
    "babi": ("smoke", "vocabulary.json"),
    "handwriting": ("smoke", None),
    "language_model": ("smoke", "tokenizer.json"),
    "transduce": ("smoke", "source.json"),
    "translate": ("cldr-smoke", "target.json"),
}
FEW = ("--steps", 4, "--log-every", 1, "--save-every", 2, "--eval-every", 2)
each_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips flushing to the disk, which takes longer than these trainings."""
    monkeypatch.setattr("experiments.files._flush", lambda path: None)


@pytest.fixture
def copy_of(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path):
    """Copies the run of an experiment, which is trained once."""

    def of_experiment(name: str) -> Path:
        def train(folder: Path) -> None:
            command = ("train", EXPERIMENTS[name][0], "--out", folder, *FEW)
            assert run(*command, program=name) == 0

        sound = made_once(tmp_path_factory, f"faults-{name}", train)
        return Path(shutil.copytree(sound, tmp_path / name))

    return of_experiment


def resume(name: str, folder: Path) -> int:
    command = ("train", EXPERIMENTS[name][0], "--out", folder, "--resume", *FEW)
    return run(*command, program=name)


def load(name: str, folder: Path, which: str):
    return importlib.import_module(f"experiments.{name}.loading").load_run(
        folder, which
    )


@each_experiment
def test_a_damaged_checkpoint_is_left_out_and_said(name, copy_of, capsys):
    folder = copy_of(name)
    earlier = load(name, folder, "best"), load(name, folder, "last")
    manifest = folder / "checkpoints" / "00000004" / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"total_tokens"', '"total_tokenz"'))
    capsys.readouterr()
    loaded = load(name, folder, "last")
    assert (loaded.step, earlier[1].step) == (2, 4)
    err = capsys.readouterr().err
    assert "00000004 is damaged (manifest.json: damaged, it does not match" in err
    assert "using the checkpoint of step 2 instead" in err
    if earlier[0].step == 2:
        chex.assert_trees_all_equal(loaded.params, earlier[0].params)
    manifest.write_text(whole)
    again = load(name, folder, "last")
    chex.assert_trees_all_equal(again.params, earlier[1].params)


@each_experiment
def test_a_bad_line_of_the_log_loses_no_other(name, copy_of, capsys):
    folder = copy_of(name)
    log = folder / "metrics.jsonl"
    before = log.read_bytes()
    lines = before.splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], b'{"step": "x"}\n', *lines[1:]]))
    damaged = log.read_bytes()
    capsys.readouterr()
    assert resume(name, folder) == 0
    assert "metrics.jsonl is damaged (1 of its lines are no metrics: 2)" in (
        capsys.readouterr().err.replace("\n", " ")
    )
    assert log.read_bytes() == before
    assert (folder / "metrics.jsonl.damaged").read_bytes() == damaged


@pytest.mark.parametrize("name", [n for n, (_, words) in EXPERIMENTS.items() if words])
def test_two_words_that_are_swapped_are_noticed(name, copy_of, capsys):
    folder = copy_of(name)
    path = folder / EXPERIMENTS[name][1]
    text = path.read_text()
    if '"characters"' in text:  # sorted in one string
        swapped = text.replace("XY", "YX")
    else:
        one, two = re.findall('"[!-~]+"', text)[-2:]
        swapped = two.join(text.rsplit(one, 1))
        swapped = one.join(swapped.rsplit(two, 1))
    assert swapped != text
    assert len(swapped) == len(text)
    path.write_text(swapped)
    before = contents(folder)
    evaluate = ("evaluate", folder)
    for command in (lambda: run(*evaluate, program=name), lambda: resume(name, folder)):
        capsys.readouterr()
        assert command() == 2
        err = capsys.readouterr().err.splitlines()
        assert err[-1].startswith(f"error: {path} "), err
        assert contents(folder) == before


@each_experiment
def test_a_setting_of_another_kind_names_the_file(name, copy_of, capsys):
    folder = copy_of(name)
    path = folder / "config.json"
    for old, new in (
        ('"seed": 0', '"seed": true'),
        ('"steps": 4', '"steps": 1e999'),
        ('"keep_last": 2', '"keep_last": 99999999999999999999999'),
    ):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        capsys.readouterr()
        assert run("evaluate", folder, program=name) == 2
        err = capsys.readouterr().err.splitlines()
        assert err[-1].startswith(f"error: {path}: "), err
        path.write_text(text)


@each_experiment
def test_a_record_goes_into_the_run_or_is_refused_before_the_work(
    name, copy_of, capsys, tmp_path
):
    folder = copy_of(name)
    (tmp_path / "precious").write_text("years of work")
    (folder / "evaluation.json").symlink_to(tmp_path / "precious")
    capsys.readouterr()
    assert run("evaluate", folder, program=name) == 2
    err = capsys.readouterr().err
    assert f"{folder}/evaluation.json: expected a file or a folder, got a sym" in err
    assert (tmp_path / "precious").read_text() == "years of work"
