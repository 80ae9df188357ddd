"""Clean text on the terminal, and streams that are closed, full or without a reader."""

import io
import subprocess
import sys

import pytest

from experiments.cli.terminal import CleanWriter, clean
from tests.experiments.commands import REPOSITORY

CONTROLS = "".join(map(chr, (*range(9), *range(11, 32), *range(127, 160))))


def test_control_characters_become_escapes_but_newline_and_tab():
    assert clean("é 日\n\tx") == "é 日\n\tx"
    assert clean("\x1b[2J\x9b") == "\\x1b[2J\\x9b"
    assert clean("\udce9") == "\\udce9"  # a byte of a path that is no UTF-8
    assert all(32 <= ord(x) < 127 for x in clean(CONTROLS))


def test_bytes_for_a_terminal_are_cleaned_as_text_is():
    for text in ("é 日\n\tx", "\x1b[2J\x9b", CONTROLS):
        written = io.BytesIO()
        assert CleanWriter(written).write(text.encode()) == len(text.encode())
        assert written.getvalue().decode() == clean(text)


# What `sh` makes of stderr, and of a process that then writes to it and goes on.
STREAMS = {
    "closed": "2>&-",
    "all closed": "<&- 1>&- 2>&-",
    "full": "2>/dev/full",
    "without a reader": "2> >(exec 0<&-; sleep 0.2)",
}
PROGRAM = """
import os, sys
from experiments.cli.exit_codes import exit_codes
from experiments.cli.terminal import say, write_message
from experiments.files import lock
from pathlib import Path
folder = Path(sys.argv[1])
with exit_codes():
    for n in range(2000):
        say(f"step {n}")
    with lock(folder / ".lock"):
        say("locked")
        write_message("stopping")
        (folder / "done").write_text("yes")
"""


@pytest.mark.parametrize("stream", STREAMS)
def test_messages_that_nobody_gets_end_nothing(stream, tmp_path):
    """Nor are they written into the lock file, which would get a free descriptor."""
    command = f'exec "$0" -c "$1" "$2" {STREAMS[stream]}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, PROGRAM, str(tmp_path)],
        cwd=REPOSITORY,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0
    assert (tmp_path / "done").read_text() == "yes"
    assert (tmp_path / ".lock").read_bytes() == b""


def test_ctrl_c_while_modules_are_imported_is_one_line():
    program = (
        "from experiments.cli.exit_codes import stop_quietly\n"
        "import os, signal\n"
        "stop_quietly()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "raise SystemExit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, b"stopped\n")
