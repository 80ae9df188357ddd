"""Every experiment keeps the promise of `test_faults`: the code is one."""

import importlib
import json
import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import chex
import pytest

from experiments.errors import UserError
from experiments.runs.folder import Run
from experiments.runs.json_file import sealed_json
from tests.experiments.commands import contents, run
from tests.faults.damages import DAMAGES
from tests.sharing import made_once


class Experiment(NamedTuple):
    """A kind of run, trained in seconds."""

    program: str
    config: str
    words: str | None  # the file of its words or symbols
    options: tuple[object, ...] = ()
    raw: Mapping[str, str] = {}  # files of its raw data


EXPERIMENTS = {
    "algorithms": Experiment("algorithms", "smoke", None),
    "babi": Experiment("babi", "smoke", "vocabulary.json"),
    "handwriting": Experiment("handwriting", "smoke", "alphabet.json"),
    "language_model": Experiment("language_model", "smoke", "tokenizer.json"),
    "lstm": Experiment(  # streams, whose state is saved too
        "language_model",
        "ptb-char-laptop",
        "tokenizer.json",
        (
            *("--model.hidden-dim", 5, "--model.num-layers", 1, "--batch-size", 2),
            *("--model.embed-dim", 3, "--model.max-length", 7),
            *("--optimizer.warmup-steps", 0),
        ),
        {
            f"ptb.{split}.txt": "the cats XY saw the dogs\n" * 19
            for split in ("train", "valid", "test")
        },
    ),
    "transduce": Experiment("transduce", "smoke", "source.json"),
    "translate": Experiment("translate", "cldr-smoke", "target.json"),
}
FEW = ("--steps", 4, "--log-every", 1, "--save-every", 2, "--eval-every", 2)
# Files that are in no list of checksums. A manifest has one of itself, the fields of
# the config, and a count and a checksum of the log's lines. The lock is empty.
UNGUARDED = {"manifest.json", "config.json", "metrics.jsonl", ".lock"}
each_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips flushing to the disk, which takes longer than these trainings."""
    monkeypatch.setattr("experiments.files._flush", lambda path: None)


@pytest.fixture
def copy_of(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path):
    """Copies the run of an experiment, which is trained once."""

    def of_experiment(name: str) -> Path:
        def write(folder: Path) -> None:
            for file, text in EXPERIMENTS[name].raw.items():
                (folder / file).write_text(text)

        def make(folder: Path) -> None:
            assert train(name, folder) == 0

        if EXPERIMENTS[name].raw:
            RAW[name] = made_once(tmp_path_factory, f"raw-{name}", write)
        sound = made_once(tmp_path_factory, f"faults-{name}", make)
        return Path(shutil.copytree(sound, tmp_path / name))

    return of_experiment


RAW: dict[str, Path] = {}  # folders of raw data, once they are made


def train(name: str, folder: Path, *more: object) -> int:
    program, config, _, options, _ = EXPERIMENTS[name]
    raw = ("--data.raw-dir", RAW[name]) if name in RAW else ()
    command = ("train", config, "--out", folder, *options, *raw, *FEW, *more)
    return run(*command, program=program)


def resume(name: str, folder: Path) -> int:
    return train(name, folder, "--resume")


def evaluate(name: str, folder: Path) -> int:
    return run("evaluate", folder, program=EXPERIMENTS[name].program)


def load(name: str, folder: Path, which: str):
    program = EXPERIMENTS[name].program
    loading = importlib.import_module(f"experiments.{program}.loading")
    return loading.load_run(folder, which)


@each_experiment
def test_every_file_is_guarded(name, copy_of):
    folder = copy_of(name)
    manifests = Run.open(folder).checkpoints.manifests()
    assert list(manifests) == [2, 4]
    for path in folder.rglob("*"):
        file = path.relative_to(folder)
        if path.is_dir() or file.parts[0] == "tensorboard" or path.name in UNGUARDED:
            continue
        if file.parts[0] == "checkpoints":
            inner = "/".join(file.parts[2:])
            assert inner in manifests[int(file.parts[1])]["files"]
        else:
            assert all(path.name in m["run_files"] for m in manifests.values())
    words = EXPERIMENTS[name].words
    assert words is None or words in manifests[4]["run_files"]


@each_experiment
def test_a_damaged_file_is_the_same_run_or_said_or_named(name, copy_of, capsys):
    folder = copy_of(name)
    sound = load(name, folder, "last")
    last = folder / "checkpoints" / "00000004"
    largest = max(last.rglob("*"), key=lambda path: path.stat().st_size)
    files = [path for path in folder.iterdir() if path.suffix == ".json"]
    for path in (*files, last / "manifest.json", largest):
        content = path.read_bytes()
        for damage in ("flip", "delete", "empty"):
            DAMAGES[damage](path, random.Random(f"{name} {path.name} {damage}"))
            before = contents(folder)
            capsys.readouterr()
            try:
                loaded = load(name, folder, "last")
            except UserError:
                for command in (evaluate, resume):
                    capsys.readouterr()
                    assert command(name, folder) == 2
                    line = capsys.readouterr().err.splitlines()[-1]
                    assert line.startswith("error: ")
                    assert path.name in line
            else:
                err = capsys.readouterr().err
                if loaded.step == 4:
                    chex.assert_trees_all_equal(loaded.params, sound.params)
                else:
                    assert "00000004 is damaged" in err
                    assert "using the checkpoint of step 2 instead" in err
            assert contents(folder) == before
            path.write_bytes(content)


def test_the_checkpoint_of_a_run_with_other_words_is_refused(copy_of, capsys):
    """Its config and its shapes are those of the run."""
    folder = copy_of("babi")
    manifest = folder / "checkpoints" / "00000004" / "manifest.json"
    values = json.loads(manifest.read_text())
    del values["checksum"]
    values["run_files"]["vocabulary.json"][1] ^= 1
    manifest.write_text(sealed_json(values))
    for command in (
        lambda: run("ask", folder, "--checkpoint", "last", program="babi"),
        lambda: resume("babi", folder),
    ):
        capsys.readouterr()
        assert command() == 2
        assert "vocabulary.json does not match its checksum (copy it back)" in (
            capsys.readouterr().err
        )


def test_curves_of_a_damaged_log_are_drawn_and_it_is_said(copy_of, tmp_path, capsys):
    folder = copy_of("algorithms")
    log = folder / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    command = ("curves", folder, "--out", tmp_path / "curves.png")
    for damaged, said in (
        (["{}\n", *lines[1:]], "1 of its lines are no metrics: 1"),
        (
            [lines[0].replace('"loss": ', '"loss": 1'), *lines[1:]],
            "not those that were",
        ),
        (
            [*lines[:-1], lines[-1].replace('"loss": ', '"loss": 1')],
            "not those that we",
        ),
        (lines[:1], "1 of 3 lines are there"),
        (lines[:-1], None),  # a kill came between the checkpoint and the line
        (lines, None),
    ):
        log.write_text("".join(damaged))
        capsys.readouterr()
        assert run(*command, program="algorithms") == 0
        err = capsys.readouterr().err
        assert (f"{log} is damaged" in err) == (said is not None)
        assert said is None or said in err
        assert [x["step"] for x in Run.open(folder).metrics() if len(x) > 6][-1] == 4


@pytest.mark.parametrize("name", [n for n, x in EXPERIMENTS.items() if x.words])
def test_two_words_that_are_swapped_are_noticed(name, copy_of, capsys):
    folder = copy_of(name)
    path = folder / EXPERIMENTS[name].words
    text = path.read_text()
    if "XY" in text:  # characters, sorted in one string
        swapped = text.replace("XY", "YX")
    else:
        one, two = re.findall('"[!-~]+"', text)[-2:]
        swapped = two.join(text.rsplit(one, 1))
        swapped = one.join(swapped.rsplit(two, 1))
    assert swapped != text
    assert len(swapped) == len(text)
    path.write_text(swapped)
    before = contents(folder)
    for command in (evaluate, resume):
        capsys.readouterr()
        assert command(name, folder) == 2
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
        assert evaluate(name, folder) == 2
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
    assert evaluate(name, folder) == 2
    err = capsys.readouterr().err
    assert f"{folder}/evaluation.json: expected a file or a folder, got a sym" in err
    assert (tmp_path / "precious").read_text() == "years of work"
