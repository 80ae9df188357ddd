"""The metrics of a run: metrics.jsonl, and TensorBoard events with the same numbers.

`metrics.jsonl` is the record: one JSON object per logged step, in order, each step
once. A killed process may leave an incomplete last line, or lines of steps that were
not saved in a checkpoint; opening the log at the step of a checkpoint drops both.
"""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from experiments.files import write_atomic


def silence_library_logs() -> None:
    """Hides the log messages of libraries from the user's terminal."""
    for name in ("absl", "orbax", "tensorboardX"):
        # What they log as an error they raise too.
        logging.getLogger(name).setLevel(logging.CRITICAL)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads a metrics file up to its first incomplete line."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not line.endswith("\n"):
            break
        lines.append(record)
    return lines


class MetricsLog:
    """Appends to the metrics of a run."""

    def __init__(self, folder: Path, *, step: int) -> None:
        """Opens the log of the first `step` steps and drops later lines."""
        # Imported here: it imports torch where that is installed, which takes 2 s.
        import tensorboardX

        self.path = folder / "metrics.jsonl"
        self.lines = [x for x in read_metrics(self.path) if x["step"] <= step]
        write_atomic(self.path, "".join(json.dumps(x) + "\n" for x in self.lines))
        self._file = self.path.open("a", encoding="utf-8")
        self._events = tensorboardX.SummaryWriter(
            str(folder / "tensorboard"), purge_step=step + 1 if step else None
        )

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one line: its `step`, and numbers by name."""
        line = dict(line)
        self.lines.append(line)
        # A single write and flush: a kill truncates at most this line. Without fsync, a
        # crash of the machine may lose the last lines, but never a checkpoint.
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in line.items():
            if name != "step" and math.isfinite(value):
                tag = name if "/" in name else f"train/{name}"
                self._events.add_scalar(tag, value, line["step"])
        self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def best_step(lines: list[dict[str, Any]], metric: str, direction: str) -> int | None:
    """Finds the first step with the best value of a metric.

    Args:
      lines: as `read_metrics` returns them.
      metric: a key of the lines. Lines without it, or with NaN, do not count.
      direction: "max" or "min".

    Returns:
      The step; None if no line has the metric.
    """
    sign = {"max": 1, "min": -1}[direction]
    candidates = [
        (sign * line[metric], -line["step"])
        for line in lines
        if metric in line and not math.isnan(line[metric])
    ]
    return -max(candidates)[1] if candidates else None
