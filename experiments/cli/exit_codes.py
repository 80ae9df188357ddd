"""Exit codes and one-line errors instead of tracebacks."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from experiments.cli.terminal import say, standard_streams, write_message
from experiments.errors import UserError

# How the RuntimeErrors of JAX begin that a user's machine or environment causes.
_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
_NO_BACKEND = "Unable to initialize backend"


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Ends the process with the right exit code when its block raises.

    A `UserError` prints one line on stderr and exits with 2, and so does what only the
    user's machine can cause: a file system that fails, memory that runs out. Ctrl-C
    exits with 130. If the reader of stdout closes the pipe (`| head`), the process
    exits with 141 without a message, as other command-line tools do.
    """
    if signal.getsignal(signal.SIGINT) is _stop_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with standard_streams():
        try:
            yield
            sys.stdout.flush()  # here, since an error at exit would be a traceback
        except BrokenPipeError:
            _discard_stdout()
            raise SystemExit(128 + signal.SIGPIPE) from None
        except KeyboardInterrupt:
            say("stopped")
            raise SystemExit(128 + signal.SIGINT) from None
        except (UserError, OSError, MemoryError, RuntimeError) as error:
            message = _message(error)
            if message is None:
                raise
            say(f"error: {message}")
            _discard_stdout_if_it_fails()
            raise SystemExit(2) from None


def stop_quietly() -> None:
    """Makes Ctrl-C end the process with one line while its modules are imported.

    `exit_codes` takes over from there. A program calls it first of all.
    """
    signal.signal(signal.SIGINT, _stop_at_once)


def _stop_at_once(number: int, frame: FrameType | None) -> None:
    write_message("stopped\n")
    os._exit(128 + number)


def _message(error: Exception) -> str | None:
    """Says in one line what the user can mend; None if it is a fault of the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        what = "file system" if error.filename is None else os.fsdecode(error.filename)
        return f"{what}: expected to read and write, got: {error.strerror or error}"
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY in first:
        return (
            f"memory: expected enough of it, got: {first or 'none left'} (make "
            f"batches, beam or model smaller)"
        )
    if first.startswith(_NO_BACKEND):
        return f"JAX_PLATFORMS: expected a platform that is here, got: {first}"
    return None


def _discard_stdout() -> None:
    # Python flushes stdout at exit. Redirect it, or that flush would fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _discard_stdout_if_it_fails() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()


@contextlib.contextmanager
def invalid_settings(name: str = "") -> Iterator[None]:
    """Turns a library's `ValueError` or `RuntimeError` into a `UserError`.

    For calls whose arguments all come from the command line.

    Args:
      name: a prefix for the message, such as "model".
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{name}: {error}" if name else str(error)) from error
