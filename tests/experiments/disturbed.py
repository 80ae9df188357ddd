"""Runs that are killed, or trained by two processes, against an uninterrupted run."""

import signal
import subprocess
from pathlib import Path

import chex
import numpy as np

from experiments.training.fit import Run
from tests.experiments.commands import finish, free_port, launch, record


def check_a_kill_changes_nothing(
    *arguments: object, out: Path, undisturbed: Path, cache: Path, program: str
) -> None:
    """Kills a run of 8 steps at step 6, resumes it, and compares it bit for bit.

    Args:
      arguments: those of the command line that trained `undisturbed`, with another
        --out.
      out: folder of the run that is killed, the --out of the arguments.
      undisturbed: folder of the uninterrupted run.
      cache: see `launch`.
      program: see `launch`.
    """
    command = (*arguments, "--resume")
    ((code, err),) = finish(launch(*command, kill_at=5, cache=cache, program=program))
    assert code == -signal.SIGKILL, err
    assert Run.open(out).checkpoints.steps() == [2, 4]
    ((code, err),) = finish(launch(*command, cache=cache, program=program))
    assert code == 0, err
    assert "resuming at step 4 of 8" in err
    for which in ("last", "best"):
        mine, theirs = (Run.open(f).load_params(which) for f in (out, undisturbed))
        chex.assert_trees_all_equal(mine, theirs)
    assert record(out) == record(undisturbed)


def launch_two(*arguments: object, program: str) -> list[subprocess.Popen[bytes]]:
    """Starts one training as two processes with two devices each."""
    return [
        launch(
            *(*arguments, "--processes.coordinator", f"127.0.0.1:{port}"),
            *("--processes.num-processes", 2, "--processes.process-id", process),
            program=program,
            devices=2,
        )
        for port in [free_port()]
        for process in range(2)
    ]


def check_curves_agree(folder: Path, undisturbed: Path) -> None:
    """Checks that two runs of 8 steps have equal batches and, to float32, losses."""
    one, other = record(undisturbed), record(folder)
    assert len(one) == 8
    for key in ("step", "tokens"):
        assert [line[key] for line in other] == [line[key] for line in one]
    for key in ("loss", "grad_norm"):
        got, want = ([line[key] for line in lines] for lines in (other, one))
        np.testing.assert_allclose(got, want, rtol=1e-4)
