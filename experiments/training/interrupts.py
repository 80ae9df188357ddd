"""SIGTERM and Ctrl-C as a polite request: the first is noted, the second obeyed."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self


class Interrupted(BaseException):
    """Cuts short what has been declared safe to cut short."""


class StopRequest:
    """Notes signals while it is entered.

    `number` is the signal noted, 0 if there was none. A second signal ends the
    process as if nobody had handled it.
    """

    def __init__(self) -> None:
        self.number = 0
        self._may_interrupt = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        # Python allows handlers in the main thread only; elsewhere nothing is noted.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
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

    def ask(self) -> None:
        """Asks for a stop as SIGTERM does."""
        self.number = self.number or signal.SIGTERM

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        # Not print: the handler may run in the middle of another print.
        os.write(2, b"\nstopping: saving first (the same again stops at once)\n")
        if self._may_interrupt:
            raise Interrupted

    @contextmanager
    def interruptible(self, allowed: bool) -> Iterator[None]:
        """Lets a signal raise `Interrupted` inside, if allowed.

        Handlers run in the main thread, and can interrupt no other.
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
