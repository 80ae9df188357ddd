"""Timing several systems fairly: one process, turns taken, medians, a machine named."""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "ctranslate2", "numpy")
# A system's threads spin for some milliseconds after its turn; the next one's turn
# begins when they sleep.
PAUSE = 0.02


class Timing(NamedTuple):
    """Seconds of each turn of one system: by the clock, and of both cores' work."""

    wall: list[float]
    cpu: list[float]

    def seconds(self, clock: str) -> float:
        """The median by the clock, or the least processor time.

        Processor time is for machines that others use too: what they cost shows as
        noise that only adds, so the least is nearest to the truth.
        """
        return statistics.median(self.wall) if clock == "wall" else min(self.cpu)


def race(calls: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, Timing]:
    """Times calls in turns, so that a busy moment hits all of them.

    Args:
      calls: by name; each returns when its work is done. One call of each before
        the first turn is not counted (it compiles).
      repeats: turns of each.

    Returns:
      What the turns took, by name.
    """
    for call in calls.values():
        call()
    timings = {name: Timing([], []) for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            time.sleep(PAUSE)
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            timings[name].wall.append(time.perf_counter() - wall)
            timings[name].cpu.append(time.process_time() - cpu)
    return timings


def describe_machine() -> dict[str, Any]:
    """What the figures were taken on: processor, cores, accelerator, load, versions."""
    import jax  # not above: `--help` shall come at once

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
    """The processor's name, and the instructions that decide how fast it multiplies."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in info.read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = set(fields.get("flags", "").split())
    fast = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    return f"{fields.get('model name', platform.machine())} ({', '.join(fast)})"
