"""Accumulates the metrics of training steps between two lines of the log."""

import math
import time
from collections.abc import Mapping
from typing import Any

# "nats" (summed losses), "grad_norm" and "taken*" leave out skipped steps.
_SUMS = ("seconds", "tokens", "skipped", "taken", "taken_tokens", "nats", "grad_norm")


def perplexity(nats: float) -> float:
    """Returns exp(nats), the perplexity of a loss; inf where that overflows.

    Example:
      >>> perplexity(0.0), perplexity(1e3)
      (1.0, inf)
    """
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


class MetricsAccumulator:
    """Sums since the last line of the log, and totals since the run started.

    Its time is training time: the caller excludes compilation, and restarts the clock
    after checkpoints and evaluations.
    """

    def __init__(
        self,
        *,
        unit: str = "tokens",
        since_line: Mapping[str, float] | None = None,
        total_tokens: float = 0.0,
        total_seconds: float = 0.0,
    ) -> None:
        """Starts at zero, or continues from the `state` of an earlier session.

        Args:
          unit: what a loss is a mean over, as the log names it.
          since_line: sums since the last line of the log.
          total_tokens: number of units since the run started.
          total_seconds: seconds since the run started.
        """
        self._unit = unit
        self._since_line = dict.fromkeys(_SUMS, 0.0) | dict(since_line or {})
        self._total_tokens, self._earlier_seconds = total_tokens, total_seconds
        self._opened = self._clock = time.monotonic()
        self._session = {"tokens": 0.0, "steps": 0, "seconds": 0.0}
        self._loss = math.nan

    def state(self) -> dict[str, Any]:
        """Returns the arguments that make the constructor continue from here."""
        return {
            "since_line": self._since_line,
            "total_tokens": self._total_tokens,
            "total_seconds": self.time(),
        }

    def start(self) -> None:
        """Restarts the clock: the time since the last step was not training."""
        self._clock = time.monotonic()

    def exclude(self, seconds: float) -> None:
        """Subtracts seconds from the time of the current step."""
        self._clock += seconds

    def add(self, metrics: Mapping[str, float]) -> None:
        """Adds the metrics of a step that has just ended."""
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
        self._total_tokens += tokens
        self._session["tokens"] += tokens
        self._session["steps"] += 1
        self._session["seconds"] += seconds

    def is_finite(self) -> bool:
        """Returns whether all losses and gradients were finite, skipped steps aside."""
        return math.isfinite(self._since_line["nats"] + self._since_line["grad_norm"])

    def summarize(self, step: int) -> dict[str, Any]:
        """Returns a line of the log and resets the sums.

        Returns:
          `step`; `time`, seconds since the run started, without pauses between
          sessions; `loss`, nats per token, and `grad_norm`, means since the last line;
          `tokens`, since the run started; `tokens_per_second`; `skipped`, if any. With
          another unit than tokens it stands in their place.
        """
        sums = self._since_line
        self._since_line = dict.fromkeys(_SUMS, 0.0)
        line: dict[str, Any] = {"step": step, "time": self.time()}
        if sums["taken"]:
            # Weighted by tokens: batches of different sizes count by their tokens.
            line["loss"] = sums["nats"] / sums["taken_tokens"]
            line["grad_norm"] = sums["grad_norm"] / sums["taken"]
        line[self._unit] = self._total_tokens
        line[f"{self._unit}_per_second"] = sums["tokens"] / max(sums["seconds"], 1e-9)
        if sums["skipped"]:
            line["skipped"] = sums["skipped"]
        return line

    def time(self) -> float:
        """Returns seconds since the run started, without pauses between sessions."""
        return round(self._earlier_seconds + time.monotonic() - self._opened, 3)

    def progress(self) -> tuple[float, float, float]:
        """Returns the last loss, and this session's tokens/s and seconds per step."""
        seconds = max(self._session["seconds"], 1e-9)
        steps = max(self._session["steps"], 1)
        return self._loss, self._session["tokens"] / seconds, seconds / steps
