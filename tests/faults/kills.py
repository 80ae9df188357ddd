"""Trainings that are killed again and again, and must end with the same bits.

    nice python -m tests.faults.kills [--kills 200] [--processes 1] [--minutes 60]

A run of the tiny task is killed (SIGKILL), resumed, killed, ... until it has ended;
then the next one is begun. Where it is killed is drawn: one of the phases, one of its
first three times in this session, and how long after its begin. Each run that ended is
compared with one that nobody disturbed: the last and the best parameters, the lines of
the log but for their times, and the checkpoints that are kept. It ends with the number
of kills by the phase in which they came.
"""

import argparse
import collections
import contextlib
import io
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attnjax.parallel import initialize_distributed
from experiments import files
from experiments.cli.progress import Screen, Silent
from experiments.runs.folder import Run
from tests.experiments.commands import free_port, record
from tests.faults import tiny

STEPS = 30
PHASES = ("starting", "compiling", "training", "saving", "evaluating")
# Longest time after the begin of a phase, in seconds.
LATEST = {"starting": 1.0, "compiling": 0.5, "saving": 0.2}


class Phases(Silent):
    """A reporter that counts, in shared memory, how often each phase began."""

    def __init__(self, counts: mmap.mmap) -> None:
        self._counts = counts

    def phase(self, name: str) -> None:
        number = next(n for n, phase in enumerate(PHASES) if name.startswith(phase))
        self._counts[0] = number
        self._counts[1 + number] = min(255, self._counts[1 + number] + 1)


def start(folder: Path, counts: mmap.mmap, processes: int) -> list[int]:
    """Forks the processes of one session; JAX starts in them, not in this one."""
    counts[:] = bytes(len(counts))
    counts[1] = 1  # it is starting
    port, children = free_port(), []
    for number in range(processes):
        child = os.fork()
        if child:
            children.append(child)
            continue
        code = 1
        try:
            if number == 0:
                Screen.reporter = lambda *_, **__: Phases(counts)  # type: ignore
            errors: Any = (folder.parent / f"{folder.name}.{number}.err").open("a")
            sys.stderr = errors
            if processes > 1:
                initialize_distributed(f"127.0.0.1:{port}", processes, number)
            tiny.train_run(folder, STEPS)
            code = 0
        except BaseException as error:
            print(f"Traceback: {error!r}", file=errors, flush=True)
        finally:
            os._exit(code)
    return children


def wait_for(counts: mmap.mmap, phase: str, times: int, child: int) -> bool:
    """Waits until a phase has begun so often; False if the process has ended."""
    place = 1 + PHASES.index(phase)
    while counts[place] < times:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        time.sleep(0.0005)
    return True


def disturb(folder: Path, counts: mmap.mmap, processes: int, rng: Any) -> str | None:
    """Runs a session and kills it; the phase that it was in, None if it had ended."""
    phase, times = rng.choice(PHASES), rng.randint(1, 3)
    times = 1 if phase in ("starting", "compiling") else times
    children = start(folder, counts, processes)
    alive = wait_for(counts, phase, times, children[0])
    if alive:
        time.sleep(rng.random() * LATEST.get(phase, 0.05))
    victim = rng.choice(children)
    for child in (victim, *(c for c in children if c != victim)):
        if alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
    if all(code == 0 for code in codes):
        return None
    if not all(code in (0, -signal.SIGKILL) for code in codes):
        errors = folder.parent.glob(f"{folder.name}.*.err")
        raise RuntimeError(
            f"{folder}: exit codes {codes}: {[e.read_text()[-500:] for e in errors]}"
        )
    return PHASES[counts[0]]


def outcome(folder: Path) -> str:
    """What must be equal: asked in a process of its own, since it starts JAX."""
    read, write = os.pipe()
    if not (child := os.fork()):
        with open(write, "w") as pipe, contextlib.redirect_stderr(io.StringIO()):
            found = {which: tiny.load(folder, which) for which in ("best", "last")}
            steps = Run.open(folder).checkpoints.steps()
            pipe.write(repr(found | {"log": record(folder), "steps": steps}))
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        raise RuntimeError(f"{folder}: it cannot be loaded")
    return text


def main() -> int:
    """Kills until it is enough; returns the number of runs that ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after them")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    files._flush = lambda path: None  # processes are killed, not the machine
    rng, counts = random.Random(options.seed), mmap.mmap(-1, 1 + len(PHASES))
    end = time.monotonic() + 60 * options.minutes
    killed: collections.Counter[str] = collections.Counter()
    ended = different = 0
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary, "whole")
        for child in start(whole, counts, options.processes):
            os.waitpid(child, 0)
        wanted = outcome(whole)
        while killed.total() < options.kills and time.monotonic() < end:
            folder = Path(temporary, f"run{ended}")
            while phase := disturb(folder, counts, options.processes, rng):
                killed[phase] += 1
                if time.monotonic() > end:
                    break
            else:
                ended += 1
                if outcome(folder) != wanted:
                    different += 1
                    print(f"{folder}: {outcome(folder)}, expected {wanted}")
                print(f"{killed.total()} kills, {ended} runs", file=sys.stderr)
    print(
        f"{killed.total()} kills of {options.processes} process(es), in phases "
        f"{dict(killed)}; {ended} runs ended, {different} of them otherwise than one "
        "that nobody disturbed"
    )
    return different


if __name__ == "__main__":
    sys.exit(main() > 0)
