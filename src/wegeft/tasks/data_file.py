"""Reading a data file whole, packed with gzip (``.gz``) or not.

Does not: know what it holds.
"""

import gzip
import zlib
from pathlib import Path

from wegeft.errors import UserError

UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading or unpacking a file may end with; the last two where it is cut short or damaged."""


def read_bytes(path: Path) -> bytes:
    """The bytes of the file, unpacked.

    Raises:
        UserError: no such file, or one that cannot be read or unpacked; the sentence names it.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except FileNotFoundError as error:
        raise UserError(f"data file {path} does not exist; check data.root.") from error
    except UNREADABLE as error:
        raise UserError(f"data file {path} cannot be read: {error}.") from error


def decode(path: Path, content: bytes) -> str:
    """``content`` of the file as text.

    Raises:
        UserError: it is not UTF-8; the sentence names file and line.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"data file {path} is not UTF-8 text at line {line}: {error}.") from error
