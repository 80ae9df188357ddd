"""The one exception that a command line shows without a traceback."""


class UserError(Exception):
    """A mistake the user can mend: the message says what to do.

    Entry points print it as `error: <message>` on stderr and exit with code 2.
    """
