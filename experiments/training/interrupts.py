"""Graceful stop: a signal requests it, a second signal kills the process.

SIGTERM, Ctrl-C, and SIGHUP: the terminal was closed, the connection was lost.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from experiments.cli.terminal import write_message


class Interrupted(BaseException):
    """Raised by a signal inside `StopRequest.interruptible`."""


class StopRequest:
    """Records a stop signal; the training loop acts on it between steps.

    `number` is the number of the first signal, 0 if there was none. A second signal
    has its default action, which ends the process.
    """

    def __init__(self) -> None:
        self.number = 0
        self._may_interrupt = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        # Python allows signal handlers in the main thread only. In another thread no
        # handler is installed, and signals keep their default action.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                ignored = signal.getsignal(number) == signal.SIG_IGN
                if number == signal.SIGHUP and ignored:  # as nohup asks for
                    continue
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def request(self) -> None:
        """Requests a stop, as SIGTERM does."""
        self.number = self.number or signal.SIGTERM

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGHUP:
            return  # the shell and the kernel both send it when a terminal goes
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        write_message("\nstopping after a checkpoint (a second signal stops at once)\n")
        if self._may_interrupt:
            raise Interrupted

    @contextmanager
    def interruptible(self, allowed: bool) -> Iterator[None]:
        """Lets a signal raise `Interrupted` inside the block, if allowed.

        Signal handlers run in the main thread, so only the main thread is interrupted.
        """
        if not allowed or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._may_interrupt = True
        try:
            if self.number:
                raise Interrupted
            yield
        finally:
            self._may_interrupt = False
