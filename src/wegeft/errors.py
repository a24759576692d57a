"""The one exception whose message is meant for the person who typed the command."""


class UserError(Exception):
    """A wrong input, in one sentence that names the key, or the file and row, and the choices.

    `run.py` prints the sentence on stderr without a traceback and exits with code 2. Raise it before anything
    is loaded or written. Faults of the program itself keep their own exceptions and their tracebacks.
    """
