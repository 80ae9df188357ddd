"""Training runs: stopped, killed, damaged, resumed; on one device or on several.

Only what ends a process, and what takes several, starts processes (`train_toy.py`).
"""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from attnjax.train import TrainState
from experiments import files as files_module
from experiments.errors import UserError
from experiments.runs.json_file import sealed_json
from experiments.runs.metrics_log import best_step, read_metrics
from experiments.training.fit import Run
from tests.experiments import train_toy
from tests.experiments.commands import free_port

REPOSITORY = Path(__file__).resolve().parents[3]
TIMED = ("time", "tokens_per_second")


def start(*arguments: object) -> subprocess.Popen[str]:
    """Starts the toy training as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.experiments.train_toy", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Waits for processes and returns the exit code and the stderr of each."""
    try:
        outputs = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, err) for p, err in zip(processes, outputs, strict=True)]


def toy(folder: Path, *arguments: object) -> TrainState:
    """Runs the toy training in this process."""
    return train_toy.main(train_toy.parse([str(folder), *map(str, arguments)]))


def record(folder: Path) -> list[dict[str, float]]:
    """The lines of the log, without the numbers that depend on the clock."""
    lines = Run.open(folder).metrics()
    return [{k: v for k, v in line.items() if k not in TIMED} for line in lines]


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips flushing to the disk, which takes longer than these trainings."""
    monkeypatch.setattr("experiments.files._flush", lambda path: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted. Tests must not change it."""
    folder = tmp_path_factory.mktemp("toy") / "whole"
    toy(folder)
    return folder


@pytest.fixture
def done(whole: Path, tmp_path: Path) -> Path:
    """A copy of the uninterrupted run, which a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "done"))


def assert_same_run(folder: Path, other: Path) -> None:
    for which in ("last", "best"):
        mine, theirs = (Run.open(f).load_params(which) for f in (folder, other))
        chex.assert_trees_all_equal(mine, theirs)
    assert record(folder) == record(other)


def test_a_stopped_and_killed_run_resumes_bit_for_bit(whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(SystemExit, match="143"):
        toy(folder, "--signal-at", 6)
    assert Run.open(folder).checkpoints.steps() == [5, 7]
    for flag, at, saved in (("--kill-at", 13, 10), ("--kill-saving", 20, 15)):
        ((code, err),) = finish(start(folder, "--resume", flag, at))
        assert code == -signal.SIGKILL, err
        assert "Traceback" not in err
        assert Run.open(folder).checkpoints.steps()[-1] == saved
        steps = [line["step"] for line in record(folder)]
        assert steps == sorted(set(steps))
    assert list((folder / "checkpoints").glob(".*"))
    toy(folder, "--resume")
    assert_same_run(folder, whole)
    assert not list((folder / "checkpoints").glob(".*"))


@pytest.fixture
def no_nohup():
    """Sees to it that SIGHUP ends a process, also where `nohup` started the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_a_signal_saves_a_checkpoint_and_names_resume(number, code, tmp_path, capfd):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        toy(tmp_path / "run", "--signal-at", 12, "--signal", int(number))
    assert stop.value.code == code
    run = Run.open(tmp_path / "run")
    assert run.checkpoints.steps() == [10, 13]
    err = capfd.readouterr().err
    assert "stopping after a checkpoint (a second signal stops at once)" in err
    assert f"stopped at step 13 of 30, saved in {run.folder}: run the same" in err
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("no_nohup")
def test_a_second_sighup_is_the_first_one_again(tmp_path):
    """The shell and the kernel both send it when a terminal goes."""
    with pytest.raises(SystemExit, match="129"):
        toy(
            *(tmp_path / "run", "--signal-at", 12, "--signals", 2),
            *("--signal", int(signal.SIGHUP)),
        )
    assert Run.open(tmp_path / "run").checkpoints.steps() == [10, 13]


def test_nohup_is_heeded(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        toy(tmp_path / "run", "--signal-at", 12, "--signal", int(signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert Run.open(tmp_path / "run").checkpoints.steps()[-1] == 30


def test_a_second_signal_stops_at_once(tmp_path):
    ((code, err),) = finish(start(tmp_path / "run", "--signal-at", 12, "--signals", 2))
    assert code == -signal.SIGTERM, err
    assert Run.open(tmp_path / "run").checkpoints.steps() == [5, 10]


def test_an_interrupted_evaluation_is_repeated_on_resume(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        toy(folder, "--signal-evaluation")
    assert stop.value.code == 143
    assert Run.open(folder).checkpoints.steps() == [5, 10]
    assert [line["step"] for line in record(folder)] == [2, 4, 6, 8]
    toy(folder, "--resume")
    assert [line["step"] for line in record(folder)] == list(range(2, 31, 2))
    lines = {line["step"]: line for line in record(folder)}
    evaluated = {s for s, line in lines.items() if "validation/error" in line}
    assert evaluated == {10, 20, 30}


def start_two(folder: Path, *arguments: object) -> list[subprocess.Popen[str]]:
    """Starts one training as two processes with two devices each."""
    port = free_port()
    return [
        start(
            *(folder, "--dropout", 0, "--devices", 2, "--processes", 2),
            *("--process", process, "--coordinator", f"127.0.0.1:{port}"),
            *arguments,
        )
        for process in range(2)
    ]


def test_devices_and_processes_give_the_same_run(tmp_path):
    """One process of two is stopped in between: both stop at the same step."""
    two = tmp_path / "2x2"
    for code, err in finish(*start_two(two, "--signal-at", 12)):
        assert code == 143, err
    assert Run.open(two).checkpoints.steps()[-1] == 14
    resumed = start_two(two, "--resume")
    eight = start(tmp_path / "8", "--dropout", 0, "--devices", 8)
    for code, err in finish(*resumed, eight):
        assert code == 0, err
    toy(tmp_path / "1", "--dropout", 0)
    one, *others = (tmp_path / name for name in ("1", "8", "2x2"))
    for other in others:
        assert [x["step"] for x in record(other)] == [x["step"] for x in record(one)]
        for name in ("loss", "grad_norm", "tokens"):
            got, want = ([line[name] for line in record(run)] for run in (other, one))
            np.testing.assert_allclose(got, want, rtol=1e-5)
        params = (Run.open(run).load_params("last") for run in (other, one))
        chex.assert_trees_all_close(*params, rtol=1e-5)


def test_the_two_newest_and_the_best_checkpoints_are_kept(tmp_path):
    toy(tmp_path / "run", "--worse-after", 10)
    run = Run.open(tmp_path / "run")
    assert run.checkpoints.steps() == [10, 25, 30]
    assert run.checkpoint_step("best") == 10
    assert run.checkpoint_step("last") == 30
    best, last = run.load_params("best"), run.load_params("last")
    assert not np.array_equal(best["in"]["kernel"], last["in"]["kernel"])


def test_keep_last_checkpoints_are_kept_and_averaged(tmp_path):
    toy(tmp_path / "run", "--keep-last", 3, "--worse-after", 10)
    run = Run.open(tmp_path / "run")
    assert run.checkpoints.steps() == [10, 20, 25, 30]
    each = [run.load_step(step) for step in (20, 25, 30)]
    want = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *each)
    like = jax.device_put(each[0], jax.devices()[1])
    mean = run.load_params("mean", like=like, count=3)
    chex.assert_trees_all_close(mean, want, rtol=1e-6)
    assert mean["in"]["kernel"].devices() == {jax.devices()[1]}
    assert run.checkpoint_step("mean") == 30
    chex.assert_trees_all_equal(run.load_params("mean", count=1), each[-1])
    everything = run.load_params("mean", count=99)
    assert not np.array_equal(everything["in"]["kernel"], mean["in"]["kernel"])


def test_parameters_load_onto_the_devices_of_like(whole):
    run = Run.open(whole)
    plain = run.load_params("last")
    like = jax.tree.map(np.zeros_like, plain)
    like = jax.device_put(like, jax.devices()[1])
    placed = run.load_params("last", like=like)
    chex.assert_trees_all_equal(placed, plain)
    assert placed["in"]["kernel"].devices() == {jax.devices()[1]}


def test_the_ema_is_loaded_if_there_is_one(tmp_path):
    state = toy(tmp_path / "run", "--steps", 4)
    loaded = Run.open(tmp_path / "run").load_params("last")
    chex.assert_trees_all_equal(loaded, state.ema)
    assert not np.array_equal(loaded["in"]["kernel"], state.params["in"]["kernel"])


def test_resuming_a_finished_run_changes_nothing(done, whole, capfd):
    toy(done, "--resume")
    assert "toy: 30 steps were done already" in capfd.readouterr().err
    assert_same_run(done, whole)


def test_what_a_killed_session_did_not_prune_is_pruned(done, whole):
    checkpoints = Run.open(done).checkpoints
    steps = checkpoints.steps()
    manifest = checkpoints.manifest(25) | {"step": 20, "line": None}
    shutil.copytree(checkpoints.path(25), checkpoints.path(20))
    (checkpoints.path(20) / "manifest.json").write_text(sealed_json(manifest))
    toy(done, "--resume")
    assert Run.open(done).checkpoints.steps() == steps
    assert_same_run(done, whole)


def test_a_finished_run_resumes_with_more_steps(done):
    toy(done, "--resume", "--steps", 40)
    assert [line["step"] for line in record(done)] == list(range(2, 41, 2))
    assert Run.open(done).config["steps"] == 40


def test_the_log_holds_finite_numbers_beside_tensorboard_events(whole):
    lines = Run.open(whole).metrics()
    assert set(lines[0]) == {
        *("step", "time", "loss", "grad_norm", "tokens", "tokens_per_second")
    }
    assert "validation/error" in lines[-1]
    assert all(math.isfinite(x) for line in lines for x in line.values())
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert list((whole / "tensorboard").glob("events*"))


def test_an_incomplete_line_and_lines_of_lost_steps_are_dropped(done):
    shutil.rmtree(done / "checkpoints")
    with (done / "metrics.jsonl").open("a") as file:
        file.write('{"step": 32, "lo')
    assert read_metrics(done / "metrics.jsonl").lines[-1]["step"] == 30
    toy(done, "--resume")  # from the start, as the checkpoints are gone
    assert [line["step"] for line in record(done)] == list(range(2, 31, 2))


@pytest.mark.parametrize(
    ("lines", "metric", "direction", "best"),
    [
        ([1.0, 3.0, 2.0], "m", "max", 2),
        ([1.0, 3.0, 2.0], "m", "min", 1),
        ([1.0, 3.0, 3.0], "m", "max", 2),  # the first of equals
        ([1.0, math.nan, 0.5], "m", "max", 1),
        ([1.0, 2.0], "other", "max", None),
        ([], "m", "max", None),
    ],
)
def test_best_step_is_the_first_with_the_best_value(lines, metric, direction, best):
    record = [{"step": i + 1, "m": x} for i, x in enumerate(lines)]
    assert best_step(record, metric, direction) == best


def files(folder: Path) -> list[str]:
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    return [str(p.relative_to(newest)) for p in newest.rglob("*") if p.is_file()]


def test_damage_to_any_file_of_a_checkpoint_is_found(done):
    checkpoints = Run.open(done).checkpoints
    assert checkpoints.find_damage(30) is None
    for name in files(done):
        file = checkpoints.path(30) / name
        whole = file.read_bytes()
        flipped = bytes([whole[0] ^ 1]) + whole[1:]
        for kind, content in (("cut", whole[:-1]), ("empty", b""), ("bit", flipped)):
            file.write_bytes(content)
            found = checkpoints.find_damage(30)
            assert found is not None, (name, kind)
            assert Path(name).name in found
        file.unlink()
        assert f"{Path(name).name} is missing" in str(checkpoints.find_damage(30))
        file.write_bytes(whole)
    assert checkpoints.find_damage(30) is None


def damage(folder: Path, step: int) -> Path:
    path = folder / "checkpoints" / f"{step:08d}"
    largest = max(path.rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    os.truncate(largest, largest.stat().st_size // 2)
    return path


def test_training_resumes_from_the_checkpoint_before_a_damaged_one(done, whole, capfd):
    path = damage(done, 30)
    toy(done, "--resume")
    err = capfd.readouterr().err
    assert f"checkpoint {path} is damaged (" in err
    assert (
        "renamed to *.damaged; resuming from an earlier one\nresuming at step 25 of 30"
        in err
    )
    assert path.with_suffix(".damaged").is_dir()
    assert_same_run(done, whole)


def test_without_an_intact_checkpoint_resuming_fails_and_changes_nothing(done):
    for step in (25, 30):
        damage(done, step)
    before = record(done)
    with pytest.raises(
        UserError,
        match=r"checkpoint .*00000030: damaged, .* and the run has no intact one "
        r"\(copy it back, or delete .*checkpoints to start this run over\)",
    ):
        toy(done, "--resume")
    assert record(done) == before
    assert Run.open(done).checkpoints.steps() == [25, 30]


def test_loading_falls_back_from_a_damaged_checkpoint_and_says_so(done, capsys):
    path = damage(done, 30)
    run = Run.open(done)
    chex.assert_trees_all_equal(run.load_params("last"), run.load_step(25))
    err = capsys.readouterr().err
    assert f"checkpoint {path} is damaged (" in err
    assert "using the checkpoint of step 25 instead" in err
    damage(done, 25)
    with pytest.raises(UserError, match=r"00000030: damaged, .* has no intact one"):
        Run.open(done).load_params("last")


def test_a_run_is_never_overwritten(done, whole):
    with pytest.raises(
        UserError,
        match=r"expected a new or empty folder, got one that holds a run \(add "
        r"--resume to continue it, or name another folder; nothing was changed\)",
    ):
        toy(done)
    assert_same_run(done, whole)


def test_a_folder_with_other_files_is_rejected(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"got one with other files \(name another"):
        Run.create(tmp_path, {})
    with pytest.raises(UserError, match=r"got one without config\.json"):
        Run.create(tmp_path, {}, resume=True)
    with pytest.raises(UserError, match="expected a folder, got a file"):
        Run.create(tmp_path / "thesis.tex", {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_resuming_with_another_config_names_its_fields(done):
    with pytest.raises(
        UserError,
        match=r"expected the config with which this run was started, got another: "
        r"model\.width: 3 saved, 4 now \(resume it with its own config",
    ):
        toy(done, "--resume", "--width", 4)
    assert Run.open(done).config["model"]["width"] == 3


def test_a_checkpoint_of_another_config_names_its_fields(done, tmp_path):
    toy(tmp_path / "wide", "--width", 4)
    shutil.rmtree(done / "checkpoints")
    shutil.copytree(tmp_path / "wide" / "checkpoints", done / "checkpoints")
    message = (
        r"expected the config of this run, got another: model\.width: 4 saved, 3 now"
    )
    with pytest.raises(UserError, match=message):
        toy(done, "--resume")
    with pytest.raises(UserError, match=message):
        Run.open(done).load_params("last")


def test_arrays_of_another_model_are_named(whole):
    run = Run.open(whole)
    like = run.load_params("last")
    like["in"]["kernel"] = like["in"]["kernel"][:, :2]
    like["extra"] = like["out"].pop("kernel")
    with pytest.raises(
        UserError,
        match=r"expected the arrays of this model, got others: "
        r"ema/extra is absent in the checkpoint, float32\[3, 2\] in the model; "
        r"ema/in/kernel is float32\[5, 3\] in the checkpoint, "
        r"float32\[5, 2\] in the model; "
        r"ema/out/kernel is float32\[3, 2\] in the checkpoint, absent in the model",
    ):
        run.load_params("last", like=like)


def test_opening_a_folder_that_is_not_a_run_fails(tmp_path, whole):
    with pytest.raises(UserError, match="expected the folder of a run, got no folder"):
        Run.open(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"a run, got one without config\.json"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: damaged, "):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(
        UserError, match=r"config\.json: damaged, the file: expected an object, got \["
    ):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="expected a checkpoint in this run, got none"):
        Run.open(tmp_path).load_params()
    with pytest.raises(UserError, match="which: expected best, last or mean, got"):
        Run.open(whole).load_params("first")


def test_a_loss_that_is_not_finite_stops_training_before_it_is_saved(tmp_path):
    with pytest.raises(
        UserError, match=r"a gradient that is not at step 13 \(step 10 is saved; "
    ):
        toy(tmp_path / "run", "--nan-at", 12)
    assert Run.open(tmp_path / "run").checkpoints.steps() == [5, 10]
    assert all(math.isfinite(line["loss"]) for line in record(tmp_path / "run"))


def test_a_second_training_in_one_folder_is_rejected(done):
    with (
        Run.open(done).lock(),
        pytest.raises(UserError, match="another process is training in this folder"),
    ):
        toy(done, "--resume")


def test_training_goes_on_without_locks_and_says_so(done, monkeypatch, capfd):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files_module.fcntl, "flock", flock)
    toy(done, "--resume")
    err = capfd.readouterr().err
    assert "the file system offers no locks" in err
    assert "30 steps were done already" in err


def test_config_json_holds_the_config(whole):
    config = json.loads((whole / "config.json").read_text())
    assert config == {"model": {"width": 3, "seed": 1}, "steps": 30}
