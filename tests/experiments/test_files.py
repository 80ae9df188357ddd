"""Atomic writes and locks."""

import errno
import os

import pytest

from experiments import files


def test_a_failed_write_leaves_the_previous_file(tmp_path):
    path = tmp_path / "a"
    files.write_atomic(path, "é")
    assert path.read_bytes() == "é".encode()

    def fail() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == "é".encode()
    assert os.listdir(tmp_path) == ["a"]


def test_content_is_flushed_before_the_rename_and_the_name_after_it(
    tmp_path, monkeypatch
):
    folder = tmp_path / "new"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("x")
    calls = []
    flush = files._flush

    def record(path):
        flush(path)  # a missing file would raise here
        calls.append((path, (tmp_path / "final").exists()))

    monkeypatch.setattr(files, "_flush", record)
    files.replace_durably(folder, tmp_path / "final")
    assert sorted(calls) == sorted(
        [
            (folder, False),
            (folder / "inner", False),
            (folder / "inner" / "file", False),
            (tmp_path, True),
        ]
    )
    assert (tmp_path / "final" / "inner" / "file").read_text() == "x"


def test_a_lock_is_exclusive_until_it_is_released(tmp_path):
    path = tmp_path / ".lock"
    with (
        files.lock(path),
        pytest.raises(BlockingIOError),
        files.lock(path, wait=False),
    ):
        pass
    with files.lock(path, wait=False):
        assert path.exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_other_process(code, tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with files.lock(tmp_path / ".lock", wait=False) as held:
        assert not held


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EAGAIN])
def test_only_a_lock_that_would_block_is_another_process(code, tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with pytest.raises(BlockingIOError), files.lock(tmp_path / ".lock", wait=False):
        pass
