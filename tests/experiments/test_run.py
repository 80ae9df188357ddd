"""The training loop: stopped, killed, damaged, resumed; on one device or many.

What ends a process is tested on processes (`train_toy.py`), the rest in this one.
"""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from experiments.errors import UserError
from experiments.runs.metrics_log import best_step, read_metrics
from experiments.training.fit import Run
from tests.experiments import train_toy

REPOSITORY = Path(__file__).resolve().parents[2]
TIMED = ("time", "tokens_per_second")


def start(*arguments: object) -> subprocess.Popen[str]:
    """Starts the toy as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.experiments.train_toy", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Waits for processes; (exit code, what each wrote to stderr)."""
    try:
        outputs = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, err) for p, err in zip(processes, outputs, strict=True)]


def toy(folder: Path, *arguments: object) -> jax.Array:
    """Trains the toy in this process."""
    return train_toy.main(train_toy.parse([str(folder), *map(str, arguments)]))


def record(folder: Path) -> list[dict[str, float]]:
    """The lines of the log, without what depends on the clock."""
    lines = Run.open(folder).metrics()
    return [{k: v for k, v in line.items() if k not in TIMED} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed, made by a process like those that are killed."""
    folder = tmp_path_factory.mktemp("toy") / "whole"
    ((code, err),) = finish(start(folder))
    assert code == 0, err
    return folder


@pytest.fixture
def done(whole: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed run, to be disturbed."""
    return Path(shutil.copytree(whole, tmp_path / "done"))


def assert_same_run(folder: Path, other: Path) -> None:
    for which in ("last", "best"):
        mine, theirs = (Run.open(f).load_params(which) for f in (folder, other))
        chex.assert_trees_all_equal(mine, theirs)
    assert record(folder) == record(other)


def test_stopped_and_killed_over_and_over_it_ends_with_the_same_bits(whole, tmp_path):
    folder = tmp_path / "run"
    ends = [
        (("--signal-at", 6), 128 + signal.SIGTERM, 7),  # finishes the step, saves
        (("--kill-at", 13), -signal.SIGKILL, 10),
        (("--kill-saving", 20), -signal.SIGKILL, 15),
        (("--kill-at", 22), -signal.SIGKILL, 20),
        ((), 0, 30),
    ]
    for arguments, want, saved in ends:
        ((code, err),) = finish(start(folder, "--resume", *arguments))
        assert code == want, err
        assert "Traceback" not in err
        assert Run.open(folder).checkpoints.steps()[-1] == saved
        steps = [line["step"] for line in record(folder)]
        assert steps == sorted(set(steps))
    assert_same_run(folder, whole)
    assert not list((folder / "checkpoints").glob(".*"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_saves_first_and_says_how_to_resume(number, code, tmp_path, capfd):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        toy(tmp_path / "run", "--signal-at", 12, "--signal", int(number))
    assert stop.value.code == code
    run = Run.open(tmp_path / "run")
    assert run.checkpoints.steps() == [10, 13]
    err = capfd.readouterr().err
    assert "stopping: saving first (the same again stops at once)" in err
    assert f"stopped at step 13 of 30, saved in {run.folder}: run the same" in err
    assert signal.getsignal(number) == before


def test_a_second_signal_stops_at_once(tmp_path):
    ((code, err),) = finish(start(tmp_path / "run", "--signal-at", 12, "--signals", 2))
    assert code == -signal.SIGTERM, err
    assert Run.open(tmp_path / "run").checkpoints.steps() == [5, 10]


def test_an_evaluation_cut_short_is_made_up_for(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        toy(folder, "--signal-evaluation")
    assert stop.value.code == 143
    assert Run.open(folder).checkpoints.steps() == [5, 10]
    assert [line["step"] for line in record(folder)] == [2, 4, 6, 8]
    toy(folder, "--resume")
    assert [line["step"] for line in record(folder)] == list(range(2, 31, 2))
    lines = {line["step"]: line for line in record(folder)}
    assert {s for s, line in lines.items() if "validation/error" in line} == {
        10,
        20,
        30,
    }


def test_the_loss_is_the_same_on_one_device_on_eight_and_in_two_processes(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    plain = ("--dropout", 0)
    peers = [
        start(
            *(tmp_path / "2x2", *plain, "--devices", 2, "--processes", 2),
            *("--process", process, "--coordinator", f"127.0.0.1:{port}"),
        )
        for process in range(2)
    ]
    for code, err in finish(*peers, start(tmp_path / "8", *plain, "--devices", 8)):
        assert code == 0, err
    toy(tmp_path / "1", *plain)
    one, eight, two = (record(tmp_path / name) for name in ("1", "8", "2x2"))
    for other in (eight, two):
        assert [x["step"] for x in other] == [x["step"] for x in one]
        for name in ("loss", "grad_norm", "tokens"):
            got, want = ([line[name] for line in run] for run in (other, one))
            np.testing.assert_allclose(got, want, rtol=1e-5)
    one, eight, two = (
        Run.open(tmp_path / name).load_params("last") for name in ("1", "8", "2x2")
    )
    chex.assert_trees_all_close(eight, one, rtol=1e-5)
    chex.assert_trees_all_close(two, one, rtol=1e-5)


def test_a_signal_to_one_process_stops_all_at_the_same_step(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    peers = [
        start(
            *(tmp_path / "run", "--signal-at", 12, "--processes", 2),
            *("--process", process, "--coordinator", f"127.0.0.1:{port}"),
        )
        for process in range(2)
    ]
    for code, err in finish(*peers):
        assert code == 143, err
    assert Run.open(tmp_path / "run").checkpoints.steps()[-1] == 14


def test_the_last_two_and_the_best_checkpoints_are_kept(tmp_path):
    toy(tmp_path / "run", "--worse-after", 10)
    run = Run.open(tmp_path / "run")
    assert run.checkpoints.steps() == [10, 25, 30]
    assert run.checkpoint_step("best") == 10
    assert run.checkpoint_step("last") == 30
    best, last = run.load_params("best"), run.load_params("last")
    assert not np.array_equal(best["in"]["kernel"], last["in"]["kernel"])


def test_the_newest_checkpoints_are_kept_and_averaged(tmp_path):
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


def test_parameters_load_into_the_callers_tree(whole):
    run = Run.open(whole)
    plain = run.load_params("last")
    like = jax.tree.map(np.zeros_like, plain)
    like = jax.device_put(like, jax.devices()[1])
    placed = run.load_params("last", like=like)
    chex.assert_trees_all_equal(placed, plain)
    assert placed["in"]["kernel"].devices() == {jax.devices()[1]}


def test_the_mean_of_the_parameters_is_what_is_loaded(tmp_path):
    state = toy(tmp_path / "run", "--steps", 4)
    loaded = Run.open(tmp_path / "run").load_params("last")
    chex.assert_trees_all_equal(loaded, state.ema)
    assert not np.array_equal(loaded["in"]["kernel"], state.params["in"]["kernel"])


def test_a_finished_run_is_left_as_it_is(done, whole, capfd):
    toy(done, "--resume")
    assert "toy: 30 steps were done already" in capfd.readouterr().err
    assert_same_run(done, whole)


def test_a_run_may_go_on_for_more_steps(done):
    toy(done, "--resume", "--steps", 40)
    assert [line["step"] for line in record(done)] == list(range(2, 41, 2))
    assert Run.open(done).config["steps"] == 40


def test_the_log_holds_numbers_and_tensorboard_the_same(whole):
    lines = Run.open(whole).metrics()
    assert set(lines[0]) == {
        *("step", "time", "loss", "grad_norm", "tokens", "tokens_per_second")
    }
    assert "validation/error" in lines[-1]
    assert all(math.isfinite(x) for line in lines for x in line.values())
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert list((whole / "tensorboard").glob("events*"))


def test_a_torn_line_and_lines_of_lost_steps_are_cut_off(done):
    shutil.rmtree(done / "checkpoints")
    with (done / "metrics.jsonl").open("a") as file:
        file.write('{"step": 32, "lo')
    assert read_metrics(done / "metrics.jsonl")[-1]["step"] == 30
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
def test_the_best_step_is_the_first_with_the_best_number(
    lines, metric, direction, best
):
    record = [{"step": i + 1, "m": x} for i, x in enumerate(lines)]
    assert best_step(record, metric, direction) == best


def files(folder: Path) -> list[str]:
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    return [str(p.relative_to(newest)) for p in newest.rglob("*") if p.is_file()]


def test_every_way_to_damage_a_checkpoint_is_noticed(done):
    checkpoints = Run.open(done).checkpoints
    assert checkpoints.problem(30) is None
    for name in files(done):
        file = checkpoints.path(30) / name
        whole = file.read_bytes()
        flipped = bytes([whole[0] ^ 1]) + whole[1:]
        for damage, content in (("cut", whole[:-1]), ("empty", b""), ("bit", flipped)):
            file.write_bytes(content)
            problem = checkpoints.problem(30)
            assert problem is not None, (name, damage)
            assert Path(name).name in problem
        file.unlink()
        assert f"{Path(name).name} is missing" in str(checkpoints.problem(30))
        file.write_bytes(whole)
    assert checkpoints.problem(30) is None


def damage(folder: Path, step: int) -> Path:
    path = folder / "checkpoints" / f"{step:08d}"
    largest = max(path.rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    os.truncate(largest, largest.stat().st_size // 2)
    return path


def test_a_damaged_checkpoint_gives_way_to_the_one_before(done, whole, capfd):
    path = damage(done, 30)
    toy(done, "--resume")
    err = capfd.readouterr().err
    assert f"checkpoint {path} is damaged (" in err
    assert "put aside, going on from an earlier one\nresuming at step 25 of 30" in err
    assert path.with_suffix(".broken").is_dir()
    assert_same_run(done, whole)


def test_with_no_sound_checkpoint_it_says_so_and_changes_nothing(done):
    for step in (25, 30):
        damage(done, step)
    before = record(done)
    with pytest.raises(
        UserError,
        match=r"checkpoint .*00000030: damaged, .* and there is no other one \(copy it "
        r"back, or delete .*checkpoints to start this run over\)",
    ):
        toy(done, "--resume")
    assert record(done) == before
    assert Run.open(done).checkpoints.steps() == [25, 30]


def test_loading_a_damaged_checkpoint_says_what_else_there_is(done):
    damage(done, 30)
    with pytest.raises(UserError, match=r"damaged, .*there are also steps \[25\]"):
        Run.open(done).load_params("last")


def test_a_run_is_never_overwritten(done, whole):
    with pytest.raises(
        UserError,
        match=r"expected a new or empty folder, got one that holds a run \(add "
        r"--resume to continue it, or name another folder; nothing was changed\)",
    ):
        toy(done)
    assert_same_run(done, whole)


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"got one with other files \(name another"):
        Run.create(tmp_path, {})
    with pytest.raises(UserError, match=r"got one without config\.json"):
        Run.create(tmp_path, {}, resume=True)
    with pytest.raises(UserError, match="expected a folder, got a file"):
        Run.create(tmp_path / "thesis.tex", {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_config_is_refused_by_its_fields(done):
    with pytest.raises(
        UserError,
        match=r"expected the config that this run was begun with, got another: "
        r"model\.width: 3 there, 4 here \(resume it with its own config",
    ):
        toy(done, "--resume", "--width", 4)
    assert Run.open(done).config["model"]["width"] == 3


def test_a_checkpoint_of_another_config_is_refused_by_its_fields(done, tmp_path):
    toy(tmp_path / "wide", "--width", 4)
    shutil.rmtree(done / "checkpoints")
    shutil.copytree(tmp_path / "wide" / "checkpoints", done / "checkpoints")
    message = r"belongs to another config: model\.width: 4 there, 3 here"
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
        r"ema/extra is absent there, float32\[3, 2\] here; "
        r"ema/in/kernel is float32\[5, 3\] there, float32\[5, 2\] here; "
        r"ema/out/kernel is float32\[3, 2\] there, absent here",
    ):
        run.load_params("last", like=like)


def test_what_is_no_run_cannot_be_opened(tmp_path, whole):
    with pytest.raises(UserError, match="expected the folder of a run, got none there"):
        Run.open(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"a run, got one without config\.json"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="expected a checkpoint in this run, got none"):
        Run.open(tmp_path).load_params()
    with pytest.raises(UserError, match="which: expected best, last or mean, got"):
        Run.open(whole).load_params("first")


def test_a_loss_that_is_not_finite_ends_the_run_before_it_is_saved(tmp_path):
    with pytest.raises(
        UserError, match=r"a gradient that is not at step 13 \(step 10 is saved; "
    ):
        toy(tmp_path / "run", "--nan-at", 12)
    assert Run.open(tmp_path / "run").checkpoints.steps() == [5, 10]
    assert all(math.isfinite(line["loss"]) for line in record(tmp_path / "run"))


def test_two_processes_do_not_train_in_one_folder(done):
    with (
        Run.open(done).lock(),
        pytest.raises(UserError, match="another process is training in this folder"),
    ):
        toy(done, "--resume")


def test_config_json_is_written_as_it_was_given(whole):
    config = json.loads((whole / "config.json").read_text())
    assert config == {"model": {"width": 3, "seed": 1}, "steps": 30}
