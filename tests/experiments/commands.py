"""Runs the real command lines, in this process or as processes."""

import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.runs.folder import Run

REPOSITORY = Path(__file__).resolve().parents[2]
UNITS = ("tokens", "sequences", "questions", "lines")
TIMED = ("time", *(f"{unit}_per_second" for unit in UNITS))

# Models with training steps of milliseconds and sizes that all differ.
TINY = (
    *("--model.embed-dim", 6, "--model.hidden-dim", 7, "--model.align-dim", 5),
    *("--model.readout-dim", 3, "--model.dropout", 0.2),
    *("--data.train", 120, "--data.validation", 7, "--data.test", 11),
    *("--batch-tokens", 512, "--max-length", 40, "--num-buckets", 1),
    *("--steps", 8, "--log-every", 1, "--save-every", 2, "--eval-every", 4),
)

TINY_GPT = (
    *("--model.num-layers", 2, "--model.max-length", 11, "--model.block.d-model", 6),
    *("--model.block.num-heads", 3, "--model.block.d-ff", 7),
    *("--model.block.dropout", 0.2, "--batch-size", 8, "--optimizer.warmup-steps", 2),
    *("--steps", 8, "--log-every", 1, "--save-every", 2, "--eval-every", 4),
)

# Kills the process when it fetches the batch of a step.
KILLER = """
import importlib, os, signal, sys

program, at = sys.argv.pop(1), int(sys.argv.pop(1))
commands = importlib.import_module(f"{program}.commands")
trainer = importlib.import_module("experiments.training.trainer")
global_batches = trainer.global_batches

def deadly(task, mesh, start):
    for step, batch in enumerate(global_batches(task, mesh, start), start):
        if step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

trainer.global_batches = deadly
commands.main()
"""


def launch(
    *arguments: object,
    program: str = "translate",
    devices: int = 1,
    kill_at: int | None = None,
    cache: Path | None = None,
    stdin: int | None = None,
) -> subprocess.Popen[bytes]:
    """Starts `python -m experiments.PROGRAM`.

    Args:
      arguments: command-line arguments.
      program: name of the experiment.
      devices: number of CPU devices.
      kill_at: step at whose batch the process kills itself.
      cache: folder of JAX's persistent compilation cache.
      stdin: see `subprocess.Popen`.
    """
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
    }
    if cache is not None:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    how: Sequence[object] = ("-m", f"experiments.{program}")
    if kill_at is not None:
        how = ("-c", KILLER, f"experiments.{program}", kill_at)
    return subprocess.Popen(
        [sys.executable, *map(str, how), *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(*processes: subprocess.Popen[bytes]) -> list[tuple[int, str]]:
    """Waits for processes and returns the exit code and the stderr of each."""
    try:
        outputs = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (p.returncode, err.decode()) for p, err in zip(processes, outputs, strict=True)
    ]


def run(*arguments: object, program: str = "translate") -> int:
    """Runs an experiment's command line in this process and returns its exit code."""
    commands = importlib.import_module(f"experiments.{program}.commands")
    try:
        commands.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def free_port() -> int:
    """Finds a TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def record(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's log, without the numbers that depend on the clock."""
    lines = Run.open(folder).metrics()
    return [{k: v for k, v in line.items() if k not in TIMED} for line in lines]


def contents(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder, to compare before and after."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
