"""What every command line does alike."""

import subprocess

import pytest

from tests.experiments.commands import finish, launch

PROGRAMS = ("bench", "language_model", "lineage", "translate")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_ends_quietly_when_its_reader_goes_away(program):
    process = launch("--help", program=program, stdin=subprocess.DEVNULL)
    process.stdout.close()
    process.stdout = None
    ((code, err),) = finish(process)
    assert (code, err) == (141, "")
