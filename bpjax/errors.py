"""The exceptions that users are meant to read."""


class UserError(ValueError):
    """Bad input. The message is one line: the value, what was expected, and the mend.

    The command line prints it without a traceback and exits with code 2.
    """


class Interrupted(Exception):  # noqa: N818 - no error: the same command goes on
    """The run was asked to end (SIGTERM) and has saved what it had.

    The command line prints the message and exits with `distributed.RESUME`.
    """
