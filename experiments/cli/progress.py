"""The progress of training runs: a bar on a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout holds results only.
"""

import time
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from experiments.cli.terminal import clean


class Reporter(Protocol):
    """What the training loop reports to; every method returns at once."""

    def phase(self, name: str) -> None:
        """Shows the current activity: compiling, training, saving ..."""

    def update(self, step: int, loss: float, rate: float, seconds_left: float) -> None:
        """Shows the current step; `rate` is per second."""

    def print(self, text: str) -> None:
        """Prints a line that stays on the screen."""


class Screen:
    """A progress display, shared by trainings that run at the same time."""

    def __init__(self, console: Console | None = None, *, silent: bool = False) -> None:
        """Chooses bars on a terminal and plain lines elsewhere.

        Args:
          console: where to print; stderr by default.
          silent: whether to print nothing, as in all processes but the main one.
        """
        self.console = Console(stderr=True) if console is None else console
        self._silent = silent
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[phase]}{task.fields[figures]}"),
            console=self.console,
            refresh_per_second=4,
        )

    def reporter(
        self, title: str, *, step: int, steps: int, unit: str = "tokens"
    ) -> Reporter:
        """Creates the reporter of one training.

        Args:
          title: what is being trained.
          step: number of steps already taken.
          steps: number of steps in all.
          unit: what the rate counts.
        """
        if self._silent:
            return Silent()
        title = clean(title)
        if self.console.is_terminal:
            self._bars.start()  # no effect if it is started already
            return Bar(self._bars, title, step=step, steps=steps, unit=unit)
        return Lines(self.console, title, step=step, steps=steps, unit=unit)

    def print(self, text: str, *, style: str = "") -> None:
        """Prints a line that belongs to no single training and stays on the screen."""
        if not self._silent:
            _print_line(self.console, text, style)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars.live.is_started:
            self._bars.stop()


class Silent:
    """A reporter that prints nothing."""

    def phase(self, name: str) -> None: ...

    def update(
        self, step: int, loss: float, rate: float, seconds_left: float
    ) -> None: ...

    def print(self, text: str) -> None: ...


class Bar:
    """A progress bar, redrawn in place."""

    def __init__(
        self, bars: Progress, title: str, *, step: int, steps: int, unit: str
    ) -> None:
        self._progress, self._unit = bars, unit
        self._task = self._progress.add_task(
            title, completed=step, total=steps, phase="starting", figures=""
        )
        self._steps, self._next = steps, 0.0
        self._latest: dict[str, Any] = {}

    def phase(self, name: str) -> None:
        self._progress.update(self._task, phase=name, **self._latest)

    def update(self, step: int, loss: float, rate: float, seconds_left: float) -> None:
        figures = _figures(loss, rate, self._unit, seconds_left)
        self._latest = {"completed": step, "figures": f"  {figures}"}
        now = time.monotonic()
        if now >= self._next or step == self._steps:
            self._next = now + 0.25
            self._progress.update(self._task, **self._latest)

    def print(self, text: str) -> None:
        _print_line(self._progress.console, text)


class Lines:
    """A plain line every few seconds, for a file or a pipe."""

    def __init__(
        self,
        console: Console,
        title: str,
        *,
        step: int,
        steps: int,
        unit: str = "tokens",
        every: float = 10.0,
    ) -> None:
        self._unit = unit
        self._console, self._title, self._every = console, title, every
        self._step, self._steps = step, steps
        self._phase = ""
        self._next = time.monotonic() + every

    def phase(self, name: str) -> None:
        if name.startswith("compiling"):  # explain the wait, which may be long
            self._print(name)
        self._phase = name

    def update(self, step: int, loss: float, rate: float, seconds_left: float) -> None:
        self._step = step
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every
            figures = _figures(loss, rate, self._unit, seconds_left)
            self._print(f"{self._phase}  {figures}")

    def _print(self, text: str) -> None:
        done = f"{self._step}/{self._steps} {100 * self._step // self._steps}%"
        self.print(f"{self._title}  {done}  {text}")

    def print(self, text: str) -> None:
        _print_line(self._console, text)


def _print_line(console: Console, text: str, style: str = "") -> None:
    # rich would apply the `style` argument of print to the bars below, too.
    console.print(Text(clean(text), style=style), soft_wrap=True)


def _figures(loss: float, rate: float, unit: str, seconds_left: float) -> str:
    return f"loss {loss:.3f}  {rate:,.0f} {unit}/s  {duration(seconds_left)} left"


def duration(seconds: float) -> str:
    """Formats a duration as minutes and seconds.

    Example:
      >>> duration(59.6), duration(3661)
      ('1:00', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
