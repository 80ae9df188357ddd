"""The lineage: what a newcomer runs first does what the README says.

Tiny systems stand in wherever the real ones need not be trained.
"""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest
from rich.console import Console

from experiments.errors import UserError
from experiments.lineage import config as lineage_config
from experiments.lineage.commands import run
from experiments.lineage.compare import Comparison, Language, read_languages
from experiments.lineage.config import SYSTEMS, LineageConfig
from experiments.runs.folder import Run
from experiments.training.session import Session, open_session
from tests.experiments.commands import contents

KEYS = {
    "model",
    "pair",
    "exact_match",
    "bleu",
    "aer",
    "exact_match_by_length",
    "parameters",
    "seconds",
}


def small(folder: Path, **settings) -> LineageConfig:
    """The settings of a lineage that takes seconds."""
    return LineageConfig(
        steps=2,
        batch_tokens=256,
        train=60,
        test=13,
        data_dir=folder / "data",
        **settings,
    )


SIZES = {"embed_dim": 6, "hidden_dim": 7, "readout_dim": 3}
TINY_SYSTEMS = tuple(
    system._replace(model=dataclasses.replace(system.model, **SIZES))
    for system in SYSTEMS
    if system.name in ("fixed-vector", "rnnsearch")
)


@pytest.fixture(autouse=True, scope="module")
def tiny_systems():
    """Replaces the four systems by two tiny ones; a process of its own has the real."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lineage_config, "SYSTEMS", TINY_SYSTEMS)
        yield


@pytest.fixture(scope="module")
def smoke(tmp_path_factory, tiny_systems) -> tuple[Path, str, list[dict]]:
    """A lineage of a few steps: its folder, what it printed, its records."""
    folder = tmp_path_factory.mktemp("lineage")
    config = small(folder, out=folder / "out")
    with (folder / "printed").open("w") as file:
        run(config, Console(file=file, width=120), Console(quiet=True))
    records = json.loads((folder / "out/results.json").read_text())
    return folder / "out", (folder / "printed").read_text(), records


def test_there_is_a_record_for_each_system_and_pair(smoke):
    _, _, records = smoke
    assert [(r["model"], r["pair"]) for r in records] == [
        (system.name, pair) for system in TINY_SYSTEMS for pair in ("en-fr", "en-ja")
    ]
    assert all(r.keys() == KEYS for r in records)


def test_what_was_promised_is_printed_and_drawn(smoke):
    folder, printed, _ = smoke
    for system in TINY_SYSTEMS:
        assert printed.count(system.title) == 2  # once in the table of each pair
    assert "->" in printed  # a translated phrase
    assert "░" in printed or "█" in printed  # and its alignment
    pictures = {path.name for path in folder.iterdir() if path.is_file()}
    assert pictures == {
        "results.json",
        *(
            f"{kind}-{pair}.{suffix}"
            for kind in ("alignments", "length")
            for pair in ("en-fr", "en-ja")
            for suffix in ("png", "svg")
        ),
    }


def test_a_folder_in_use_is_refused_and_left_alone(smoke):
    folder, _, _ = smoke
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UserError, match="out: expected a new or empty folder"):
        run(LineageConfig(out=folder), Console(quiet=True), Console(quiet=True))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_resumed_lineage_ends_with_the_same_records(smoke):
    folder, _, records = smoke
    config = small(folder.parent, out=folder, resume=True)
    run(config, Console(quiet=True), Console(quiet=True))
    assert json.loads((folder / "results.json").read_text()) == records


def test_a_lineage_with_other_vocabularies_or_data_is_refused(
    smoke, tmp_path, monkeypatch
):
    folder = Path(shutil.copytree(smoke[0], tmp_path / "out"))
    config = small(smoke[0].parent, out=folder, resume=True)
    for system in TINY_SYSTEMS:  # the vocabularies are those of both pairs
        file = folder / "en-fr" / system.name / "target.json"
        whole = file.read_bytes()
        file.write_bytes(whole.replace(b"a", b"b", 1))
        with pytest.raises(UserError, match=r"target\.json does not match .*copy it"):
            run(config, Console(quiet=True), Console(quiet=True))
        assert file.read_bytes() != whole
        file.write_bytes(whole)

    def read_fewer(config: LineageConfig) -> dict[str, Language]:
        languages = read_languages(config)
        languages["en-ja"].train.pop()
        return languages

    monkeypatch.setattr("experiments.lineage.commands.read_languages", read_fewer)
    with pytest.raises(UserError, match="data: expected the en-ja train data with whi"):
        run(config, Console(quiet=True), Console(quiet=True))


def test_a_lineage_writes_nothing_outside_of_its_folder(smoke, tmp_path):
    folder, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    config = small(smoke[0].parent, out=folder, resume=True)
    for name in ("results.json", "length-en-ja.svg", "en-fr"):
        shutil.copytree(smoke[0], folder)
        (folder / name).rename(outside / name)
        before = contents(outside)
        (folder / name).symlink_to(outside / name)
        with pytest.raises(UserError, match=f"{name}: .* got a symbolic link"):
            run(config, Console(quiet=True), Console(quiet=True))
        assert contents(outside) == before
        shutil.rmtree(folder)


def test_an_unknown_pair_ends_the_command_with_code_2(tmp_path):
    command = [sys.executable, "-m", "experiments.lineage"]
    options = ["--pairs", "en-xx", "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "xx" in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "^steps: expected at least 1, got 0$"),
        ({"seed": -1}, "^seed: expected at least 0, got -1$"),
        ({"seed": 2**63}, "^seed: expected at most 9223372036854775807, got"),
        ({"pairs": ()}, "^pairs: expected one or more different pairs, got none$"),
        ({"pairs": ("en-fr", "en-fr")}, "^pairs: .* different pairs, got en-fr en-fr$"),
        ({"pairs": ("en-xx",)}, "^pair: expected two different locales"),
    ],
)
def test_bad_settings_are_named_before_anything_is_written(settings, message, tmp_path):
    config = LineageConfig(out=tmp_path / "out", data_dir=tmp_path / "data", **settings)
    with pytest.raises(UserError, match=message):
        run(config, Console(quiet=True), Console(quiet=True))
    assert not list(tmp_path.iterdir())


def lines(folder: Path) -> str:
    """What the log of a run holds by now."""
    log = folder / "metrics.jsonl"
    return log.read_text() if log.exists() else ""


def test_a_lineage_that_is_stopped_has_saved_both_trainings(smoke, tmp_path):
    command = [sys.executable, "-m", "experiments.lineage", "--out", str(tmp_path)]
    command += ["--steps", "100000", "--batch-tokens", "256", "--train", "60"]
    command += ["--test", "13", "--data-dir", str(smoke[0].parent / "data")]
    folders = [tmp_path / pair / "fixed-vector" for pair in ("en-fr", "en-ja")]
    how = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **how) as lineage:
        try:
            deadline = time.monotonic() + 240
            while not all(lines(folder) for folder in folders):
                assert lineage.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            lineage.terminate()
            said = lineage.communicate(timeout=120)[1]
        finally:
            lineage.kill()
    assert lineage.returncode == 128 + signal.SIGTERM, said
    for folder in folders:
        assert len(Run.open(folder).checkpoints.steps()) == 1
        assert f"saved in {folder}: run the same command with --resume" in said
    assert not (tmp_path / "results.json").exists()


def wait_for_stop(session: Session) -> NoReturn:
    """What a training does that is asked to stop, without the training."""
    deadline = time.monotonic() + 60
    while not session.stop.number:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    raise SystemExit(128 + session.stop.number)


def test_what_ends_one_training_stops_the_other_and_starts_no_more(
    smoke, tmp_path, monkeypatch
):
    config = small(smoke[0].parent)
    comparison = Comparison(config, read_languages(config))
    begun = []

    def fail_or_wait(run: Run, *, session: Session, **_) -> None:
        begun.append(run.folder.parent.name)
        if len(begun) == 1:
            raise UserError("loss: expected finite numbers")
        wait_for_stop(session)

    monkeypatch.setattr("experiments.lineage.compare.fit", fail_or_wait)
    with (
        open_session(Console(quiet=True)) as session,
        pytest.raises(UserError, match="finite"),
    ):
        list(comparison.run(tmp_path, session))
    assert sorted(begun) == ["en-fr", "en-ja"]


def test_a_signal_that_meets_the_thread_of_a_training_is_heeded(
    smoke, tmp_path, monkeypatch
):
    config = small(smoke[0].parent)
    comparison = Comparison(config, read_languages(config))
    begun = itertools.count()

    def meet_it_and_wait(run: Run, *, session: Session, **_) -> None:
        if next(begun) == 0:  # a second signal would end the process
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        wait_for_stop(session)

    monkeypatch.setattr("experiments.lineage.compare.fit", meet_it_and_wait)
    with (
        open_session(Console(quiet=True)) as session,
        pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)),
    ):
        list(comparison.run(tmp_path, session))


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> list[dict]:
    """The records of the README's command, of its harder pair; trained once."""
    out = tmp_path_factory.mktemp("real") / "out"
    command = [sys.executable, "-m", "experiments.lineage", "--out", str(out)]
    command += ["--pairs", "en-ja"]
    optimized = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=optimized)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(system.title in done.stdout for system in SYSTEMS)
    return json.loads((out / "results.json").read_text())


@pytest.mark.slow
def test_attention_does_what_the_designs_before_it_could_not(real):
    """Seeded, so it fails always or never."""
    assert [record["model"] for record in real] == [s.name for s in SYSTEMS]
    fixed, cursors, diagonal, rnnsearch, transformer = real
    assert cursors["exact_match"] > diagonal["exact_match"] + 0.1
    assert cursors["aer"] <= 0.1
    assert rnnsearch["exact_match"] >= 0.95
    assert rnnsearch["aer"] <= 0.15
    assert rnnsearch["exact_match"] > diagonal["exact_match"] + 0.1
    assert transformer["exact_match"] > fixed["exact_match"] + 0.3
    assert transformer["aer"] < diagonal["aer"]
    sizes = [record["parameters"] for record in real]
    assert max(sizes) < 1.1 * min(sizes)


@pytest.mark.slow
def test_attention_holds_on_long_phrases(real):
    fixed, _, diagonal, rnnsearch, _ = (r["exact_match_by_length"] for r in real)
    longest = list(rnnsearch)[-1]
    assert int(longest.split("-")[0]) >= 20
    assert rnnsearch[longest] > fixed[longest] + 0.3
    assert rnnsearch[longest] > diagonal[longest] + 0.15


def test_other_systems_are_compared_where_they_are_named():
    named = LineageConfig(systems=("seq2seq", "rnnsearch"))
    named.check()
    assert [system.name for system in named.chosen] == ["rnnsearch", "seq2seq"]
    assert [system.name for system in LineageConfig().chosen] == [
        system.name for system in TINY_SYSTEMS
    ]
    for systems in (("seq2sec",), ("rnnsearch", "rnnsearch")):
        with pytest.raises(UserError, match=r"^systems: expected different ones of fi"):
            LineageConfig(systems=systems).check()
