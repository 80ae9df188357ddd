"""The main job: what a newcomer runs first does what the README says."""

import itertools
import json
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
from experiments.lineage.commands import run
from experiments.lineage.config import ENTRIES, LineageConfig
from experiments.lineage.race import Race, read_languages
from experiments.training.fit import Run
from experiments.training.session import Session, open_session

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


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, str, list[dict]]:
    """A lineage of a few steps: its folder, what it printed, its records."""
    folder = tmp_path_factory.mktemp("lineage")
    config = small(folder, out=folder / "out", pairs=("en-ja",))
    with (folder / "printed").open("w") as file:
        run(config, Console(file=file, width=120), Console(quiet=True))
    records = json.loads((folder / "out/results.json").read_text())
    return folder / "out", (folder / "printed").read_text(), records


def test_there_is_a_record_for_each_system_and_pair(smoke):
    _, _, records = smoke
    assert [r["model"] for r in records] == [entry.name for entry in ENTRIES]
    assert all(r.keys() == KEYS for r in records)
    assert {r["pair"] for r in records} == {"en-ja"}


def test_systems_are_of_like_size(smoke):
    sizes = [record["parameters"] for record in smoke[2]]
    assert max(sizes) < 1.1 * min(sizes)


def test_what_was_promised_is_printed_and_drawn(smoke):
    folder, printed, _ = smoke
    for entry in ENTRIES:
        assert entry.title in printed
    assert "->" in printed  # a translated phrase
    assert "░" in printed or "█" in printed  # and its alignment
    pictures = {path.name for path in folder.iterdir() if path.is_file()}
    assert pictures == {
        "results.json",
        *(
            f"{kind}-en-ja.{suffix}"
            for kind in ("alignments", "length")
            for suffix in ("png", "svg")
        ),
    }


def test_a_folder_in_use_is_refused_and_left_alone(smoke):
    folder, _, _ = smoke
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UserError, match="out: expected a new or empty folder"):
        run(LineageConfig(out=folder), Console(quiet=True), Console(quiet=True))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_lineage_is_gone_on_with_to_the_same_records(smoke):
    folder, _, records = smoke
    config = small(folder.parent, out=folder, resume=True, pairs=("en-ja",))
    run(config, Console(quiet=True), Console(quiet=True))
    assert json.loads((folder / "results.json").read_text()) == records


def test_an_unknown_pair_ends_the_command_with_code_2(tmp_path):
    command = [sys.executable, "-m", "experiments.lineage"]
    options = ["--pairs", "en-xx", "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "xx" in done.stderr


def lines(folder: Path) -> str:
    """What the log of a run holds by now."""
    log = folder / "metrics.jsonl"
    return log.read_text() if log.exists() else ""


def test_a_lineage_that_is_stopped_has_saved_both_trainings(smoke, tmp_path):
    command = [sys.executable, "-m", "experiments.lineage", "--out", str(tmp_path)]
    command += ["--steps", "100000", "--batch-tokens", "256", "--train", "60"]
    command += ["--test", "13", "--data-dir", str(smoke[0].parent / "data")]
    folders = [tmp_path / pair / "fixed-vector" for pair in ("en-fr", "en-ja")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as lineage:
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
    """What a training does that is asked to stop, but for the training."""
    deadline = time.monotonic() + 60
    while not session.stop.number:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    raise SystemExit(128 + session.stop.number)


def test_what_ends_one_training_stops_the_other_and_starts_no_more(
    smoke, tmp_path, monkeypatch
):
    config = small(smoke[0].parent, pairs=("en-fr", "en-ja"))
    race = Race(config, read_languages(config))
    begun = []

    def fail_or_wait(run: Run, *, session: Session, **_) -> None:
        begun.append(run.folder.parent.name)
        if len(begun) == 1:
            raise UserError("loss: expected finite numbers")
        wait_for_stop(session)

    monkeypatch.setattr("experiments.lineage.race.fit", fail_or_wait)
    with (
        open_session(Console(quiet=True)) as session,
        pytest.raises(UserError, match="finite"),
    ):
        list(race.run(tmp_path, session))
    assert sorted(begun) == ["en-fr", "en-ja"]


def test_a_signal_that_meets_the_thread_of_a_training_is_heeded(
    smoke, tmp_path, monkeypatch
):
    config = small(smoke[0].parent, pairs=("en-fr", "en-ja"))
    race = Race(config, read_languages(config))
    begun = itertools.count()

    def meet_it_and_wait(run: Run, *, session: Session, **_) -> None:
        if next(begun) == 0:  # a second signal would end the process
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        wait_for_stop(session)

    monkeypatch.setattr("experiments.lineage.race.fit", meet_it_and_wait)
    with (
        open_session(Console(quiet=True)) as session,
        pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)),
    ):
        list(race.run(tmp_path, session))


@pytest.mark.slow
def test_attention_does_what_the_designs_before_it_could_not(tmp_path):
    """The command of the README, as it is; seeded, so it fails always or never."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "experiments.lineage", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    records = json.loads((out / "results.json").read_text())
    found = {(r["model"], r["pair"]): r for r in records}
    for pair in ("en-fr", "en-ja"):
        searching, fixed = found["rnnsearch", pair], found["fixed-vector", pair]
        assert searching["exact_match"] >= 0.95
        assert searching["aer"] <= 0.15
        longest = list(searching["exact_match_by_length"])[-1]
        assert int(longest.split("-")[0]) >= 20
        assert (
            searching["exact_match_by_length"][longest]
            > fixed["exact_match_by_length"][longest] + 0.3
        )
        attending = found["transformer", pair]
        assert attending["exact_match"] > fixed["exact_match"] + 0.3
        assert attending["aer"] < found["diagonal", pair]["aer"]
    searching, stepping = found["rnnsearch", "en-ja"], found["diagonal", "en-ja"]
    assert searching["exact_match"] > stepping["exact_match"] + 0.1
    longest = list(searching["exact_match_by_length"])[-1]
    by_length = "exact_match_by_length"
    assert searching[by_length][longest] > stepping[by_length][longest] + 0.15
