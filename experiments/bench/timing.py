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

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "ctranslate2", "numpy")
# Thread pools busy-wait for some milliseconds after a call. The pause lets them go to
# sleep, so that they do not take cores from the next system.
PAUSE = 0.02


class Timing(NamedTuple):
    """Seconds of every timed call of one system."""

    wall: list[float]  # wall time
    cpu: list[float]  # CPU time, summed over all threads

    def seconds(self, clock: str) -> float:
        """The median of the wall times, or the minimum of the CPU times.

        On a shared machine other processes only ever add to the CPU time (cache misses,
        busy-waiting), so the minimum is the best estimate.
        """
        return statistics.median(self.wall) if clock == "wall" else min(self.cpu)


def time_interleaved(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int
) -> dict[str, Timing]:
    """Times calls in alternation: one of each system, then the next of each.

    Args:
      calls: by name; each returns when its computation has finished. Every call is
        made once before timing starts, as a warm-up that includes compilation.
      repeats: number of timed calls of each.

    Returns:
      Timings by name.
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
      One record for each system: the labels, `system`, `seconds`, `wall` and `cpu`.
    """
    title = " ".join(str(value) for value in labels.values() if isinstance(value, str))
    print(f"timing {title}: {', '.join(calls)}", file=sys.stderr, flush=True)
    timings = time_interleaved(calls, repeats=repeats)
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
