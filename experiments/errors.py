"""The one exception that a command line shows without a traceback."""


class UserError(Exception):
    """A mistake that the user can fix. The message tells the user how to fix it.

    Entry points print it as `error: <message>` on stderr and exit with code 2.
    """


class DamagedError(UserError):
    """A file of a run that is not as it was written: cut, changed, missing, a link."""
