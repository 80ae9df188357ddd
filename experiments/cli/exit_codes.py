"""Exit codes and one-line errors instead of tracebacks."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from experiments.errors import UserError


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Ends the process with the right exit code when its block raises.

    A `UserError` prints one line on stderr and exits with 2; Ctrl-C exits with 130. If
    the reader of stdout closes the pipe (`| head`), the process exits with 141 without
    a message, as other command-line tools do.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        # Python flushes stdout at exit. Redirect it, or that flush would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None


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
