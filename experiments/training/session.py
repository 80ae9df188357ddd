"""What trainings that run at the same time, in threads of one process, share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console

from attnjax.parallel import is_main_process
from experiments.cli.progress import Screen
from experiments.training.interrupts import StopRequest


class Session(NamedTuple):
    """The progress display and the stop request of one process."""

    screen: Screen
    stop: StopRequest


@contextmanager
def open_session(console: Console | None = None) -> Iterator[Session]:
    """Opens the progress display and handles signals until it is closed.

    Args:
      console: where progress is shown; stderr by default.

    Yields:
      The session. Opened in the main thread, it serves all threads.
    """
    silent = not is_main_process()
    with Screen(console, silent=silent) as screen, StopRequest() as stop:
        yield Session(screen, stop)
