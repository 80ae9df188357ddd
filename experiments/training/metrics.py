"""Sums up the metrics of steps: what a line of the log says."""

import math
import time
from collections.abc import Mapping
from typing import Any

# Of all steps, and then of those that were taken, not skipped.
_SUMS = ("seconds", "tokens", "skipped", "taken", "taken_tokens", "nats", "grad_norm")


class Meter:
    """Sums since the last line, and totals since the run began.

    Its time is that of training: the caller excludes compiling, and starts the clock
    anew after saving and evaluating.
    """

    def __init__(
        self,
        *,
        since_line: Mapping[str, float] | None = None,
        all_tokens: float = 0.0,
        all_seconds: float = 0.0,
    ) -> None:
        """Begins at nought, or where `notes` of an earlier session left off."""
        self._since_line = dict.fromkeys(_SUMS, 0.0) | dict(since_line or {})
        self._all_tokens, self._earlier = all_tokens, all_seconds
        self._began = self._clock = time.monotonic()
        self._session = {"tokens": 0.0, "steps": 0, "seconds": 0.0}
        self._loss = math.nan

    def notes(self) -> dict[str, Any]:
        """Says, for a checkpoint, what the constructor takes."""
        return {
            "since_line": self._since_line,
            "all_tokens": self._all_tokens,
            "all_seconds": self.time(),
        }

    def start(self) -> None:
        """Starts the clock: what went before was not training."""
        self._clock = time.monotonic()

    def exclude(self, seconds: float) -> None:
        """Takes a time out of that of training."""
        self._clock += seconds

    def add(self, metrics: Mapping[str, float]) -> None:
        """Takes in the metrics of a step that has just ended."""
        now = time.monotonic()
        seconds, self._clock = max(0.0, now - self._clock), now
        sums, tokens = self._since_line, metrics["tokens"]
        skipped = metrics.get("skipped", 0.0)
        sums["seconds"] += seconds
        sums["tokens"] += tokens
        sums["skipped"] += skipped
        if not skipped:
            sums["taken"] += 1
            sums["taken_tokens"] += tokens
            sums["nats"] += metrics["loss"] * tokens
            sums["grad_norm"] += metrics["grad_norm"]
            self._loss = metrics["loss"]
        self._all_tokens += tokens
        self._session["tokens"] += tokens
        self._session["steps"] += 1
        self._session["seconds"] += seconds

    def is_finite(self) -> bool:
        """Tells whether every loss and gradient of the steps taken was finite."""
        return math.isfinite(self._since_line["nats"] + self._since_line["grad_norm"])

    def line(self, step: int) -> dict[str, Any]:
        """Sums up, and begins the next line.

        Returns:
          `step`; `time`, seconds since the run began, pauses between sessions not
          counted; `loss`, nats per token, and `grad_norm`, means since the last line;
          `tokens`, since the run began; `tokens_per_second`; `skipped`, if any.
        """
        sums = self._since_line
        self._since_line = dict.fromkeys(_SUMS, 0.0)
        line: dict[str, Any] = {"step": step, "time": self.time()}
        if sums["taken"]:
            line["loss"] = sums["nats"] / sums["taken_tokens"]
            line["grad_norm"] = sums["grad_norm"] / sums["taken"]
        line["tokens"] = self._all_tokens
        line["tokens_per_second"] = sums["tokens"] / max(sums["seconds"], 1e-9)
        if sums["skipped"]:
            line["skipped"] = sums["skipped"]
        return line

    def time(self) -> float:
        """Seconds since the run began, pauses between sessions not counted."""
        return round(self._earlier + time.monotonic() - self._began, 3)

    def figures(self) -> tuple[float, float, float]:
        """The last loss, and of this session tokens per second and seconds per step."""
        seconds = max(self._session["seconds"], 1e-9)
        steps = max(self._session["steps"], 1)
        return self._loss, self._session["tokens"] / seconds, seconds / steps
