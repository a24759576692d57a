"""The exceptions whose message is meant for the person who typed the command."""

from typing import ClassVar

from wegeft import exits


class UserError(Exception):
    """A wrong input, in one sentence that names the key, or the file and row, and the choices.

    `run.py` prints the sentence on stderr without a traceback and exits with code 2. Raise it before anything
    is loaded or written. Faults of the program itself keep their own exceptions and their tracebacks.
    """

    exit_code: ClassVar[int] = exits.BAD_INPUT


class StorageError(UserError):
    """A file could not be written (disk full, folder read-only); nothing that was there before is lost."""

    exit_code = exits.STORAGE


class BusyError(UserError):
    """Another process works at the same run."""

    exit_code = exits.BUSY
