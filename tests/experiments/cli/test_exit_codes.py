"""What all command lines share: exit codes and help."""

import dataclasses
import errno
import io
import os
import subprocess
import sys

import pytest

from experiments.cli import commands as cli
from experiments.cli.compilation_cache import CompilationOptions
from experiments.cli.exit_codes import exit_codes, invalid_settings
from experiments.errors import UserError
from tests.experiments.commands import REPOSITORY, finish, launch, run

PROGRAMS = ("bench", "language_model", "translate")  # lineage runs as a process


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_exits_quietly_if_its_reader_closes_the_pipe(program, monkeypatch, capfd):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", buffering=1) as closed_pipe:
        monkeypatch.setattr("sys.stdout", closed_pipe)
        assert run("--help", program=program) == 141
    assert capfd.readouterr().err == ""


def test_a_process_exits_quietly_if_its_reader_closes_the_pipe():
    """Python flushes stdout at exit, which happens in a process only."""
    process = launch("--help", program="lineage", stdin=subprocess.DEVNULL)
    process.stdout.close()
    process.stdout = None
    ((code, err),) = finish(process)
    assert (code, err) == (141, "")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("steps: expected 1, got 0"), 2, "error: steps: expected 1, got 0\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_errors_become_exit_codes(error, code, message, capsys):
    with pytest.raises(SystemExit) as stop, exit_codes():
        raise error
    assert stop.value.code == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("name", "message"), [("", "^heads: odd$"), ("model", "^model: heads: odd$")]
)
def test_invalid_settings_are_user_errors(name, message):
    with pytest.raises(UserError, match=message), invalid_settings(name):
        raise ValueError("heads: odd")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/runs/a"),
            "/runs/a: expected to read and write, got: No space left on device",
        ),
        (
            OSError(errno.EIO, "Input/output error"),
            "file system: expected to read and write, got: Input/output error",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", b"/caf\xe9"),
            "/caf\\udce9: expected to read and write, got: Permission denied",
        ),
        (
            MemoryError("cannot allocate 8 GiB"),
            "memory: expected enough of it, got: cannot allocate 8 GiB (make batches,",
        ),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"),
            "memory: expected enough of it, got: RESOURCE_EXHAUSTED: Out of memory",
        ),
        (
            RuntimeError("Unable to initialize backend 'cuda': no such library"),
            "JAX_PLATFORMS: expected a platform that is here, got: Unable to",
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_the_machine_causes_is_one_line(error, message, capsys):
    with pytest.raises(SystemExit) as stop, exit_codes():
        raise error
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_an_error_names_the_flag_that_the_command_has(command, capsys, monkeypatch):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Train(CompilationOptions):
        """Has settings of data."""

        def run(self) -> None:
            raise UserError("raw_dir: expected a folder (name it with --data.raw-dir)")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Evaluate(Train):
        """Has the flag itself."""

        raw_dir: str | None = None
        """Folder of the raw data."""

    monkeypatch.setattr(cli, "use_compilation_cache", lambda wanted: None)
    kinds = cli.command("train", Train) | cli.command("evaluate", Evaluate)
    with pytest.raises(SystemExit):
        cli.run_command(kinds, prog="x", description="", arguments=[command])
    flag = {"train": "--data.raw-dir", "evaluate": "--raw-dir"}[command]
    assert f"(name it with {flag})" in capsys.readouterr().err


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a fault"), exit_codes():
        raise RuntimeError("a fault")


def test_characters_that_stdout_lacks_become_escapes(monkeypatch):
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding="latin-1")
    monkeypatch.setattr("sys.stdout", stdout)
    with exit_codes():
        print("café 日")
    assert written.getvalue() == b"caf\xe9 \\u65e5\n"


def test_a_closed_stdout_takes_what_is_printed(monkeypatch):
    """Python has None for a stream that was closed before it started (`>&-`)."""
    monkeypatch.setattr("sys.stdout", None)
    with exit_codes():
        print("nobody reads this")


def test_a_full_disk_under_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from experiments.cli.exit_codes import exit_codes\n"
                "with exit_codes():\n    print('results')",
            ],
            cwd=REPOSITORY,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "error: file system: expected to read and write, got: No space left on device\n"
    )
