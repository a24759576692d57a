"""Writing a file whole or not at all, whatever happens to the process.

Does not: know what a file holds.
"""

import os
import tempfile
from pathlib import Path


def write_atomically(target: Path, content: bytes) -> None:
    """Put ``content`` at ``target`` in one step, in place of what was there.

    The bytes go to a temporary file in the same folder, are flushed to the disk and then renamed, so that a reader
    sees the old file or the new one. The folder is made if it is not there.
    """
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


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; only POSIX systems can open a folder for this."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
