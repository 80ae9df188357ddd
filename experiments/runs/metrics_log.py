"""The metrics of a run: metrics.jsonl, and TensorBoard events with the same numbers.

`metrics.jsonl` is the record: one JSON object per logged step, in order, each step
once. A killed process may leave an incomplete last line, or lines of steps that were
not saved in a checkpoint; opening the log at the step of a checkpoint drops both. A
line that is damaged otherwise is left out, and the old file is kept.
"""

import json
import logging
import math
import os
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from experiments.cli.terminal import say
from experiments.errors import UserError
from experiments.files import delete, read_regular, write_atomic
from experiments.runs.json_file import parse_json
from experiments.runs.manifest import Manifest
from experiments.runs.paths import inside

NAME, FOLDER = "metrics.jsonl", "tensorboard"
_LARGEST = 1 << 30  # bytes
_OTHERS = "its lines are not those that were logged"


def silence_library_logs() -> None:
    """Hides the log messages of libraries from the user's terminal."""
    for name in ("absl", "orbax", "tensorboardX"):
        # What they log as an error they raise too.
        logging.getLogger(name).setLevel(logging.CRITICAL)


class LoggedMetrics(NamedTuple):
    """What a metrics file holds."""

    lines: list[dict[str, Any]]  # steps increase
    damage: str | None  # what is wrong with the rest; None: nothing

    def find_damage(self, num_lines: int, checksum: int | None) -> str | None:
        """Describes how the file differs from what a checkpoint says of it.

        Args:
          num_lines: that there were at least.
          checksum: of these first lines; None if it is not known.
        """
        if self.damage is not None:
            return self.damage
        if len(self.lines) < num_lines:
            return f"{len(self.lines)} of {num_lines} lines are there"
        if checksum not in (None, _checksum(self.lines[:num_lines])):
            return _OTHERS
        return None


def read_metrics(path: Path) -> LoggedMetrics:
    """Reads a metrics file; lines that are damaged or out of order are left out.

    An incomplete last line is what a kill leaves, and no damage.
    """
    if not os.path.lexists(path):
        return LoggedMetrics([], None)
    try:
        content = read_regular(path, largest=_LARGEST)
    except OSError as error:
        return LoggedMetrics([], f"it cannot be read: {error.strerror or error}")
    lines: list[dict[str, Any]] = []
    wrong: list[int] = []
    last = -1
    *whole, _ = content.split(b"\n")
    for number, text in enumerate(whole, start=1):
        try:
            line = parse_json(text, dict[str, float])
            if type(line["step"]) is not int or (lines and line["step"] <= last):
                raise ValueError("expected a later step")
        except (ValueError, KeyError):
            wrong.append(number)
            continue
        lines.append(line)
        last = line["step"]
    if not wrong:
        return LoggedMetrics(lines, None)
    which = ", ".join(map(str, wrong[:5])) + (" ..." if len(wrong) > 5 else "")
    return LoggedMetrics(lines, f"{len(wrong)} of its lines are no metrics: {which}")


def read_lines(path: Path, manifests: Mapping[int, Manifest]) -> list[dict[str, Any]]:
    """Reads the lines of a log, and says so if they are not those that were logged.

    Args:
      path: of the log.
      manifests: of the run's checkpoints by step, read before. The newest one has a
        checksum of the lines that there were when it was saved; each has the line of
        its own evaluation, which is taken where the log lacks it.
    """
    found = read_metrics(path)
    newest: Any = manifests[max(manifests)] if manifests else {}
    saved = [m["line"] for m in manifests.values() if m["line"] is not None]
    lines = {x["step"]: x for x in found.lines}
    damage = found.find_damage(newest.get("num_lines", 0), newest.get("log_checksum"))
    for line in filter(is_evaluated, saved):
        logged = lines.setdefault(int(line["step"]), line)
        if _checksum([logged]) != _checksum([line]):
            damage = damage or _OTHERS
    if damage is not None:
        say(f"{path} is damaged ({damage}): using the lines that can be read")
    return [lines[step] for step in sorted(lines)]


class MetricsLog:
    """Appends to the metrics of a run."""

    def __init__(
        self,
        folder: Path,
        step: int,
        *,
        num_lines: int = 0,
        checksum: int | None = None,
    ) -> None:
        """Opens the log of the first `step` steps and drops later lines.

        Args:
          folder: of the run.
          step: that training goes on from.
          num_lines: number of lines that there were when it was saved.
          checksum: the attribute `checksum` as it was then; None if it is not known.

        Attributes:
          lines: all lines.
          checksum: of the lines.
          notices: what the user must know about the log as it was found.

        Raises:
          UserError: if it cannot be written.
        """
        # Imported here: it imports torch where that is installed, which takes 2 s.
        from tensorboardX import event_file_writer

        self.path = folder / NAME
        found = read_metrics(self.path)
        found = found._replace(lines=[x for x in found.lines if x["step"] <= step])
        self.lines = found.lines
        self.checksum = _checksum(self.lines)
        self.notices: list[str] = []
        damage = found.find_damage(num_lines, checksum)
        if damage is not None:
            self._keep_aside(damage)
        events = inside(folder, FOLDER)
        try:
            events.mkdir(exist_ok=True)
            write_atomic(self.path, "".join(json.dumps(x) + "\n" for x in self.lines))
            self._file = self.path.open("a", encoding="utf-8")
            # Not SummaryWriter: its thread dies of a full disk with a traceback.
            self._events = event_file_writer.EventsWriter(str(events / "events"))
            if step:
                self._purge(step + 1)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _keep_aside(self, damage: str) -> None:
        kept, said = self.path.with_suffix(".jsonl.damaged"), ""
        if os.path.lexists(self.path):
            delete(kept)
            self.path.rename(kept)
            said = f"kept as {kept.name}, and "
        self.notices.append(
            f"{self.path} is damaged ({damage}): {said}continued with the lines that "
            "can be read"
        )

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(
            f"{self.path}: expected to write it, got: {error.strerror or error} (make "
            "room and --resume)"
        )

    def _purge(self, step: int) -> None:
        """Tells TensorBoard to hide earlier events from a step on."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        start = SessionLog(status=SessionLog.START)
        self._events.write_event(Event(step=step, file_version="brain.Event:2"))
        self._events.write_event(Event(step=step, session_log=start))

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one line: its `step`, and numbers by name.

        Raises:
          UserError: if it cannot be written.
        """
        line = dict(line)
        self.lines.append(line)
        self.checksum = _checksum([line], self.checksum)
        try:
            # A single write and flush: a kill truncates at most this line. Without
            # fsync, a crash of the machine may lose the last lines, but never a
            # checkpoint.
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            self._write_events(line)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _write_events(self, line: Mapping[str, Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in line.items():
            if name != "step" and math.isfinite(value):
                tag = name if "/" in name else f"train/{name}"
                event = Event(step=line["step"], wall_time=time.time())
                event.summary.CopyFrom(scalar(tag, value))
                self._events.write_event(event)
        self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, self._events):
            try:
                file.close()
            except OSError:
                continue  # `write` has raised it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checksum(lines: Iterable[Mapping[str, Any]], before: int = 0) -> int:
    """Computes the CRC-32 of lines, as they are written, after those of before."""
    for line in lines:
        before = zlib.crc32(json.dumps(line).encode(), before)
    return before


def is_evaluated(line: Mapping[str, float]) -> bool:
    """Tells whether a line of the log has validation metrics."""
    return "step" in line and any(name.startswith("validation/") for name in line)


def best_step(
    lines: Iterable[Mapping[str, Any]], metric: str, direction: str
) -> int | None:
    """Finds the first step with the best value of a metric.

    Args:
      lines: each with its `step`, and metrics by name.
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
