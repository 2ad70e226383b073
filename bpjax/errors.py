"""The one exception that users are meant to read."""


class UserError(ValueError):
    """Bad input. The message is one line: the value, what was expected, and the mend.

    The command line prints it without a traceback and exits with code 2.
    """
