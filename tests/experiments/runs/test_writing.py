"""Where nothing can be written: one line, before the work where it can be known."""

import errno
import os
import resource
import shutil

import jax
import pytest

from experiments.errors import DamagedError, UserError
from experiments.runs import manifest as manifest_module
from experiments.runs.folder import Run
from experiments.runs.paths import inside, output_path
from experiments.training.trainer import train
from tests.faults import tiny


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips flushing to the disk, which takes longer than these trainings."""
    monkeypatch.setattr("experiments.files._flush", lambda path: None)


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        (resource.RLIMIT_FSIZE, 1 << 15, r"files of 65,\d+ bytes needed, ulimit -f"),
        (resource.RLIMIT_NOFILE, 60, "Too many open files"),
    ],
)
def test_a_limit_is_told_before_the_first_step(limit, value, message, tmp_path):
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value, hard))
    try:
        with pytest.raises(UserError, match=f"00000001: expected to write.*{message}"):
            train(tiny.TinyTask, tiny.TinyConfig(), tmp_path / "run")
    finally:
        resource.setrlimit(limit, (soft, hard))
    assert Run.open(tmp_path / "run").checkpoints.steps() == []
    assert tiny.train_run(tmp_path / "run", 4)  # after room is made
    assert Run.open(tmp_path / "run").checkpoints.steps() == [2, 4]


def test_a_disk_that_fills_up_between_saves_is_one_line(tmp_path, monkeypatch):
    whole = tiny.train_run(tmp_path / "whole", 8)
    free = iter([10**9, 10**9, 10**9, 7])  # before the first step, then at each save

    def disk_usage(path):
        return shutil._ntuple_diskusage(10**9, 0, next(free))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", disk_usage)
        with pytest.raises(
            UserError, match=r"00000006: expected to write it, got: .* 7"
        ):
            tiny.train_run(tmp_path / "run", 8)
    assert tiny.train_run(tmp_path / "run", 8) == whole


def test_a_log_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    class Full:
        def __init__(self, file) -> None:
            self.file = file

        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            self.file.close()

    from experiments.runs.metrics_log import MetricsLog

    with MetricsLog(tmp_path, step=0) as log:
        monkeypatch.setattr(log, "_file", Full(log._file))
        with pytest.raises(
            UserError, match=r"metrics\.jsonl: expected to write it, go"
        ):
            log.write({"step": 1, "loss": 0.5})


def read_only(folder):
    """Fails as a file system that is mounted read-only does, also for root."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_read_only_run_is_told_before_the_work(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    tiny.train_run(folder, 4)
    started = []
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: read_only(dir))
    monkeypatch.setattr(tiny.TinyTask, "init_params", lambda self: started.append(self))
    message = "expected a folder that can be written, got: Read-only file system"
    with pytest.raises(UserError, match=message):
        tiny.train_run(folder, 8)
    assert not started
    with pytest.raises(UserError, match=message):
        Run.open(folder).output("evaluation.json")


def test_what_leads_out_of_a_run_is_refused(tmp_path):
    assert inside(tmp_path, "a/b") == tmp_path / "a" / "b"
    for name in ("/etc/passwd", "../x", "a/../../x", "a//b", "", "./a", "a\0b"):
        with pytest.raises(DamagedError, match="expected a file in it, got the name"):
            inside(tmp_path, name)
    (tmp_path / "link").symlink_to("/tmp")
    with pytest.raises(DamagedError, match="link: expected a file or a folder, got a"):
        output_path(tmp_path, "link/x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder: expected a file, got a folder"):
        output_path(tmp_path, "folder")


def test_a_resume_under_other_versions_says_so(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    tiny.train_run(folder, 4)
    other = {"jax": "0.1.2", "x64": True}
    capsys.readouterr()
    monkeypatch.setattr(manifest_module, "current_versions", lambda: other)
    tiny.train_run(folder, 4)
    assert (
        f"saved with jax {jax.__version__}, x64 False; now with jax 0.1.2, x64 True: "
        "the last bits of the results may differ"
    ) in capsys.readouterr().err.replace("\n", " ")


def test_arrays_of_another_precision_name_the_switch(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    tiny.train_run(folder, 4)
    run = Run.open(folder)
    like = jax.tree.map(lambda x: x.astype("bfloat16"), run.load_params("last"))
    other = {"jax": jax.__version__, "x64": True}
    monkeypatch.setattr(manifest_module, "current_versions", lambda: other)
    with pytest.raises(UserError, match=r"with JAX_ENABLE_X64=0: load it with\)"):
        run.load_params("last", like=like)
