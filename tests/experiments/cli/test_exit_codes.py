"""What all command lines share: exit codes and help."""

import os
import subprocess

import pytest

from experiments.cli.exit_codes import exit_codes, invalid_settings
from experiments.errors import UserError
from tests.experiments.commands import finish, launch, run

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
