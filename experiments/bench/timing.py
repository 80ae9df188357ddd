"""Timing several systems in one process: warm-up, interleaved calls, medians.

The systems take turns, so that a change in the machine's speed affects all of them
alike; ratios within one table are more reliable than the figures themselves.
"""

import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench.systems import ATTNJAX
from experiments.cli.progress_bar import ProgressBar

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "ctranslate2", "numpy")
# Thread pools busy-wait for some milliseconds after a call. The pause lets them go to
# sleep, so that they do not take cores from the next system.
PAUSE = 0.02


# A system that takes so many times as long as attnjax is left out: PyTorch emulates
# bfloat16 where the processor lacks it, and one call takes minutes.
TOO_SLOW = 20


class Timing(NamedTuple):
    """Seconds of every timed call of one system."""

    wall: list[float]  # wall time
    cpu: list[float]  # CPU time, summed over all threads
    left_out: bool = False  # too slow: only one call was timed

    def seconds(self, clock: str) -> float:
        """The median of the wall times, or the minimum of the CPU times.

        On a shared machine other processes only ever add to the CPU time (cache misses,
        busy-waiting), so the minimum is the best estimate.
        """
        return statistics.median(self.wall) if clock == "wall" else min(self.cpu)


def time_interleaved(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int, title: str = "timing"
) -> dict[str, Timing]:
    """Times calls in alternation: one of each system, then the next of each.

    Before that each is called twice: as a warm-up that includes compilation, and to
    see whether it is too slow to be timed.

    Args:
      calls: by name, "system" or "system part", attnjax first; each returns when its
        computation has finished.
      repeats: number of timed calls of each.
      title: of the progress bar.

    Returns:
      Timings by name; of a system that is too slow only the call that showed it.
    """
    with ProgressBar(title, len(calls) * (repeats + 2)) as progress:
        turns, left_out = _first_turns(calls, title, progress)
        timings = {name: Timing([], []) for name in turns}
        for _ in range(repeats):
            for name in timings:
                progress.describe(f"{title}: {name}")
                time.sleep(PAUSE)
                wall, cpu = _time(calls[name])
                timings[name].wall.append(wall)
                timings[name].cpu.append(cpu)
                progress.advance(1)
    return timings | left_out


def _first_turns(
    calls: Mapping[str, Callable[[], Any]], title: str, progress: ProgressBar
) -> tuple[dict[str, float], dict[str, Timing]]:
    """Warms up and times one turn of each; leaves out what is too slow.

    Returns:
      The seconds of those that are timed, and the turns of those that are left out.
    """
    turns: dict[str, float] = {}
    left_out: dict[str, Timing] = {}
    for name, call in calls.items():
        system, _, part = name.partition(" ")
        if any(slow.partition(" ")[0] == system for slow in left_out):
            continue  # another part of it is too slow
        progress.describe(f"{title}: {name}, first calls")
        call()
        wall, cpu = _time(call)
        turns[name] = wall
        progress.advance(2)
        if is_too_slow(wall, turns.get(f"{ATTNJAX} {part}".strip())):
            left_out[name] = Timing([wall], [cpu], left_out=True)
            turns = {n: x for n, x in turns.items() if n.partition(" ")[0] != system}
    return turns, left_out


def is_too_slow(seconds: float, ours: float | None) -> bool:
    """Whether a call takes so much longer than ours that it is left out.

    Calls of milliseconds are timed whatever they take: nobody waits for them.
    """
    return ours is not None and seconds > TOO_SLOW * max(ours, PAUSE)


def _time(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall time and CPU time of a call, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(
    calls: Mapping[str, Callable[[], Any]],
    labels: Mapping[str, Any],
    *,
    repeats: int,
    clock: str,
) -> list[dict[str, Any]]:
    """Times calls in alternation and reports on stderr what is being timed.

    Args:
      calls: by system, as in `time_interleaved`.
      labels: what all records have in common, such as model, shape and dtype.
      repeats: number of timed calls of each system.
      clock: "wall" or "cpu", as in `Timing.seconds`.

    Returns:
      One record for each system: the labels, `system`, `seconds`, `wall`, `cpu` and
      `left_out`, whether it was too slow for more than one call.
    """
    title = " ".join(str(value) for value in labels.values() if isinstance(value, str))
    print(f"timing {title}: {', '.join(calls)}", file=sys.stderr, flush=True)
    timings = time_interleaved(calls, repeats=repeats, title=f"timing {title}")
    return [
        {
            **labels,
            "system": name,
            "seconds": timing.seconds(clock),
            **timing._asdict(),
        }
        for name, timing in timings.items()
    ]


def describe_machine() -> dict[str, Any]:
    """Describes the machine: processor, cores, accelerator, load, package versions."""
    import jax  # imported late, so that --help does not wait for it

    device = jax.devices()[0]
    accelerator = (
        {} if device.platform == "cpu" else {"accelerator": device.device_kind}
    )
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        **accelerator,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **versions,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name and its vector and matrix instruction sets."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in info.read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = set(fields.get("flags", "").split())
    simd = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    return f"{fields.get('model name', platform.machine())} ({', '.join(simd)})"
