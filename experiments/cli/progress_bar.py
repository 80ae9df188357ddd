"""A progress bar that appears on stderr only if the work takes long."""

import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from experiments.cli.terminal import clean


class ProgressBar:
    """A rich progress bar on a terminal, a line now and then elsewhere.

    rich itself has neither a delay before the bar appears nor output for log files: on
    anything but a terminal, its `Progress` prints nothing until the end.
    """

    def __init__(
        self, title: str, total: int, *, delay: float = 3.0, interval: float = 10.0
    ) -> None:
        """Starts counting.

        Args:
          title: what is being done.
          total: the count at the end.
          delay: seconds before anything is shown; shorter work shows nothing.
          interval: seconds between two lines where there is no terminal.
        """
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            *(BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(clean(title), total=total)
        self._interval, self._next = interval, time.monotonic() + delay

    def advance(self, count: int) -> None:
        """Adds to the count."""
        self._progress.advance(self._task, count)
        self._show()

    def describe(self, title: str) -> None:
        """Changes the title: what is being done now."""
        self._progress.update(self._task, description=clean(title))
        self._show()

    def _show(self) -> None:
        task = self._progress.tasks[0]
        if self._progress.live.is_started or task.finished:
            return
        if time.monotonic() < self._next:
            return
        if self._console.is_terminal:
            self._progress.start()
        else:
            line = f"{task.description}  {task.completed:.0f}/{task.total:.0f}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._next = time.monotonic() + self._interval

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress.live.is_started:  # else stop() would print an empty line
            self._progress.stop()
