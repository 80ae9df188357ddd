"""How far a long piece of work is, said on stderr, and only if it takes long."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


class Counter:
    """Counts to a known total: a bar on a terminal, a line now and then elsewhere.

    Nothing is shown in the first seconds, so short work is done without a word.
    """

    def __init__(
        self, title: str, total: int, *, patience: float = 3.0, every: float = 10.0
    ) -> None:
        """Starts the clock.

        Args:
          title: what is being counted.
          total: how many there are.
          patience: seconds before anything is shown.
          every: seconds between two lines, where there is no terminal.
        """
        self._title, self._total, self._every = title, total, every
        self._done, self._due = 0, time.monotonic() + patience
        self._bar: Progress | None = None

    def add(self, count: int) -> None:
        """Counts some more."""
        self._done += count
        shown = self._bar is not None or self._done >= self._total
        if not shown and time.monotonic() >= self._due:
            self._show()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def _show(self) -> None:
        console = Console(stderr=True)
        if not console.is_terminal:
            print(f"{self._title}  {self._done}/{self._total}", file=sys.stderr)
            self._due = time.monotonic() + self._every
            return
        columns = "{task.description}", BarColumn(20), MofNCompleteColumn()
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True
        )
        self._bar.add_task(self._title, total=self._total, completed=self._done)
        self._bar.start()

    def __enter__(self) -> "Counter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
