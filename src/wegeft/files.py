"""Writing a file whole or not at all, whatever happens to the process.

Does not: know what a file holds.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wegeft.errors import StorageError


def write_atomically(target: Path, content: bytes) -> None:
    """Put ``content`` at ``target`` in one step, in place of what was there.

    The bytes go to a temporary file in the same folder, are flushed to the disk and then renamed, so that a reader
    sees the old file or the new one. The folder is made if it is not there.

    Raises:
        StorageError: the disk is full or the folder cannot be written to; ``target`` is as it was.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # The leading dot and the suffix keep a file left behind by a crash out of the patterns that readers use.
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=".tmp")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)  # mkstemp makes it private; what a run writes is meant to be shared
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def remove_leftovers(folder: Path, stem: str = "") -> None:
    """Remove the temporary files that a killed process left in ``folder``; with ``stem``, only those of its targets.

    Only for whoever is alone in writing these targets.
    """
    for path in folder.glob(f".{stem}*.tmp"):
        path.unlink(missing_ok=True)


def check_writable(key: str, folder: Path) -> None:
    """Refuse a ``folder`` in which nothing could be written, or which could not be made; leaves nothing behind.

    Tried in the nearest folder that is there, because permissions do not say all (root, read-only file systems).

    Raises:
        StorageError: the sentence names ``key``, by which the person chose the folder.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise StorageError(f"{key}={folder} cannot be written to ({error.strerror}); name another folder.") from error


@contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Say in one sentence that ``target`` could not be written, and why."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{target} could not be written ({reason}); what was there before is whole.") from error


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; only POSIX systems can open a folder for this."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
