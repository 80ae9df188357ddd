"""What reaches the terminal: clean text, and streams that are there and do not fail.

Names of files, keys of a config and words of a vocabulary may come from a stranger, and
a terminal obeys control characters. `clean` escapes them; everything that is printed
goes through it, or through `CleanWriter`, which stands before stdout.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

# All of Unicode's category Cc but newline and tab: C0, delete and C1.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# The same in UTF-8.
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


def clean(text: str) -> str:
    r"""Escapes control characters but newline and tab, and what UTF-8 cannot hold.

    Example:
      >>> clean("a\x1b[2J\tb")
      'a\\x1b[2J\tb'
    """
    # A path may hold bytes that are no UTF-8, which Python shows as surrogates.
    printable = text.encode(errors="backslashreplace").decode()
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", printable)


def say(text: str) -> None:
    """Prints what is being done on stderr; stdout is for results."""
    print(clean(text), file=sys.stderr, flush=True)


class CleanWriter(io.BufferedIOBase):
    """A binary stream that escapes control characters in UTF-8, for a terminal."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        """Writes data, with `\\x1b` as four characters in place of an escape."""
        content = bytes(data)
        escaped = _CONTROL_BYTES.sub(lambda found: b"\\x%02x" % found[0][-1], content)
        self._stream.write(escaped)
        return len(content)

    def flush(self) -> None:
        """Flushes the stream below."""
        self._stream.flush()

    def fileno(self) -> int:
        """The descriptor of the stream below."""
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        """Whether the stream below is a terminal."""
        return bool(self._stream.isatty())

    def writable(self) -> bool:
        """It is."""
        return True


class _LossyWriter(io.RawIOBase):
    """A descriptor that drops what cannot be written: the reader left, a full disk.

    Messages are not worth a training that ends.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: Any) -> int:
        """Writes all of the data, or what is possible."""
        view = memoryview(data).cast("B")
        done = 0
        with contextlib.suppress(OSError):
            while done < len(view):
                done += os.write(self._descriptor, view[done:])
        return len(view)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """It is."""
        return True


def write_message(text: str) -> None:
    """Writes a message to stderr at once; a signal handler may call it."""
    # os.write, since print is not reentrant: the handler may interrupt a print.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Makes stdout and stderr fit to print to, until the block ends.

    A stream that is closed takes nothing; stderr never fails; stdout takes characters
    that its encoding lacks as escapes and, on a terminal, control characters too.
    """
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
        if sys.stdout.isatty():
            sys.stdout = _clean_stream(sys.stdout)
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no descriptor
        lossy = _LossyWriter(sys.stderr.fileno())
        sys.stderr = io.TextIOWrapper(
            lossy,  # type: ignore[arg-type]
            encoding=sys.stderr.encoding,
            errors="backslashreplace",
            write_through=True,
        )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        nowhere.close()


def _clean_stream(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    made: Any = io.TextIOWrapper(
        CleanWriter(stream.buffer),  # type: ignore[type-var]
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )
    # rich writes there instead: it needs escape sequences for its tables.
    made.rich_proxied_file = stream
    return made  # type: ignore[no-any-return]


def _fill_descriptors() -> None:
    """Opens what is closed of 0, 1 and 2, or the next file would be taken for it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
