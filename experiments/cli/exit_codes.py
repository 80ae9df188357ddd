"""What every command line does around its work: the exit code, and no traceback."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from experiments.errors import UserError


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turns what may end a command into an exit code and one line on stderr.

    A mistake of the user's ends it with 2, Ctrl-C with 130, a reader of stdout that
    has gone away (`| head`) with 141 and without a word, as it ends other tools.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        # Python flushes stdout once more when it ends; that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None


@contextlib.contextmanager
def settings_at_fault(name: str = "") -> Iterator[None]:
    """Turns what the library says of its arguments into a mistake of the user's.

    For calls whose arguments all come from the command line.

    Args:
      name: what to put before the message, such as "model".
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{name}: {error}" if name else str(error)) from error
