"""What a run records of itself: metrics.jsonl, and TensorBoard events beside it.

`metrics.jsonl` is the record: one JSON object a line, one line a step, in order, no
step twice. A process that is killed may leave a torn line, or lines of steps that
will be taken again; opening the log at the step of a checkpoint cuts them off.
"""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from experiments.files import write_atomic


def quiet_third_party() -> None:
    """Stops libraries from reporting what they do on the user's terminal."""
    for name in ("absl", "orbax", "tensorboardX"):
        logging.getLogger(name).setLevel(logging.ERROR)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads the whole lines of a metrics file; a torn last one is left out."""
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
    """Appends to the record of a run."""

    def __init__(self, folder: Path, *, step: int) -> None:
        """Opens the record of the first `step` steps; what lies beyond is cut off."""
        # Here, since it imports all of torch where that is installed: two seconds.
        import tensorboardX

        self.path = folder / "metrics.jsonl"
        self.lines = [x for x in read_metrics(self.path) if x["step"] <= step]
        write_atomic(self.path, "".join(json.dumps(x) + "\n" for x in self.lines))
        self._file = self.path.open("a", encoding="utf-8")
        self._events = tensorboardX.SummaryWriter(
            str(folder / "tensorboard"), purge_step=step + 1 if step else None
        )

    def write(self, line: Mapping[str, Any]) -> None:
        """Records a line: its `step`, and numbers."""
        line = dict(line)
        self.lines.append(line)
        # One write call, so that a kill tears at most this line.
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
    """Finds the first step with the best value of a metric; None if it never was.

    Args:
      lines: of the record.
      metric: a key of the lines; lines without it, or where it is NaN, do not count.
      direction: "max" or "min".
    """
    sign = {"max": 1, "min": -1}[direction]
    scored = [
        (sign * line[metric], -line["step"])
        for line in lines
        if metric in line and not math.isnan(line[metric])
    ]
    return -max(scored)[1] if scored else None
