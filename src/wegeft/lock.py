"""One process at a time in a run's folder.

The lock is the kernel's (``flock``), so it cannot be left behind: it ends with the process that holds it, however that
ends. The file ``lock`` only says who holds it.

Does not: wait, or coordinate the processes of one distributed run (one of them holds the lock for all).
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from wegeft.errors import BusyError, StorageError
from wegeft.files import storage_errors

NAME = "lock"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Be the only process at work in ``folder``, which is made if it is not there.

    Raises:
        BusyError: another process is at work there; the sentence says which.
        StorageError: the folder cannot be written to, or its file system knows no locks.
    """
    path = folder / NAME
    descriptor = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock ends: afterwards the file could be another's
        os.close(descriptor)
        with suppress(OSError):  # something was left in it, as is the rule
            folder.rmdir()


def _acquire(path: Path) -> int:
    """A descriptor of the locked file at ``path``."""
    while True:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:  # the one before us removed the empty folder in between
                continue
        try:
            _lock(descriptor, path)
            if _same_file(descriptor, path):
                _sign(descriptor, path)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the one before us removed the file after we had opened it


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 1000, 0).decode(errors="replace") or "another process"
        raise BusyError(
            f"run {path.parent.name} is being worked on by {holder}; this process leaves it alone."
        ) from error
    except OSError as error:
        raise StorageError(
            f"{path} cannot be locked ({error.strerror}); set output_dir to a file system with locks."
        ) from error


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int, path: Path) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    with storage_errors(path):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode(), 0)
