"""What the user sees of a training run: a bar on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout holds results only.
"""

import time
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text


class Reporter(Protocol):
    """What the loop tells; every method returns at once."""

    def phase(self, name: str) -> None:
        """Says what is being done from now on: compiling, training, saving ..."""

    def update(self, step: int, loss: float, rate: float, seconds_left: float) -> None:
        """Says how far it is; rate in tokens per second."""

    def say(self, text: str) -> None:
        """Says something that stays on the screen."""


class Screen:
    """Where trainings report. Those that run at the same time share one."""

    def __init__(self, console: Console | None = None, *, silent: bool = False) -> None:
        """Suits where the console goes: bars on a terminal, lines elsewhere.

        Args:
          console: where to; stderr by default.
          silent: whether to say nothing (every process but the main one).
        """
        self.console = Console(stderr=True) if console is None else console
        self._silent = silent
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[phase]}{task.fields[figures]}"),
            console=self.console,
            refresh_per_second=4,
        )

    def reporter(self, title: str, *, step: int, steps: int) -> Reporter:
        """Makes the reporter of one training.

        Args:
          title: what is being trained.
          step: steps taken already.
          steps: steps to take in all.
        """
        if self._silent:
            return Silent()
        if self.console.is_terminal:
            self._bars.start()  # which does nothing the second time
            return Bar(self._bars, title, step=step, steps=steps)
        return Lines(self.console, title, step=step, steps=steps)

    def say(self, text: str, *, style: str = "") -> None:
        """Says something that is of no single training and stays on the screen."""
        if not self._silent:
            _print_line(self.console, text, style)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars.live.is_started:
            self._bars.stop()


class Silent:
    """Says nothing."""

    def phase(self, name: str) -> None: ...

    def update(
        self, step: int, loss: float, rate: float, seconds_left: float
    ) -> None: ...

    def say(self, text: str) -> None: ...


class Bar:
    """A bar that is redrawn in place."""

    def __init__(self, bars: Progress, title: str, *, step: int, steps: int) -> None:
        self._progress = bars
        self._task = self._progress.add_task(
            title, completed=step, total=steps, phase="starting", figures=""
        )
        self._steps, self._next = steps, 0.0
        self._latest: dict[str, Any] = {}

    def phase(self, name: str) -> None:
        self._progress.update(self._task, phase=name, **self._latest)

    def update(self, step: int, loss: float, rate: float, seconds_left: float) -> None:
        figures = _figures(loss, rate, seconds_left)
        self._latest = {"completed": step, "figures": f"  {figures}"}
        now = time.monotonic()
        if now >= self._next or step == self._steps:
            self._next = now + 0.25
            self._progress.update(self._task, **self._latest)

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)


class Lines:
    """A line now and then, for a file or a pipe."""

    def __init__(
        self,
        console: Console,
        title: str,
        *,
        step: int,
        steps: int,
        every: float = 10.0,
    ) -> None:
        self._console, self._title, self._every = console, title, every
        self._step, self._steps = step, steps
        self._phase = ""
        self._next = time.monotonic() + every

    def phase(self, name: str) -> None:
        slow = name == "compiling"
        if slow and not self._phase:  # the first wait deserves an explanation
            self._print(name)
        self._phase = name

    def update(self, step: int, loss: float, rate: float, seconds_left: float) -> None:
        self._step = step
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every
            self._print(f"{self._phase}  {_figures(loss, rate, seconds_left)}")

    def _print(self, text: str) -> None:
        done = f"{self._step}/{self._steps} {100 * self._step // self._steps}%"
        self.say(f"{self._title}  {done}  {text}")

    def say(self, text: str) -> None:
        _print_line(self._console, text)


def _print_line(console: Console, text: str, style: str = "") -> None:
    # Not print's own style: that would be the style of the bars below, too.
    console.print(Text(text, style=style), soft_wrap=True)


def _figures(loss: float, rate: float, seconds_left: float) -> str:
    return f"loss {loss:.3f}  {rate:,.0f} tokens/s  {duration(seconds_left)} left"


def duration(seconds: float) -> str:
    """Writes a time for people.

    Example:
      >>> duration(59.6), duration(3661)
      ('1:00', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
