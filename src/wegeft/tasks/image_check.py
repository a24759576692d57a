"""Are the image files there, and whole? Found out before a run starts, from a few bytes of each.

A JPEG file that was cut short has lost its end-of-image marker, a PNG file its IEND chunk. Only where the marker is not
among the last bytes (some cameras write something after it) is the image decoded to be sure.

Does not: find a damaged byte in the middle of a file; decoding, when training gets there, does.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from wegeft.errors import UserError
from wegeft.progress import progress

NAMED = 3
"""Broken files that the sentence names; it counts the others."""
TAIL_BYTES = 64
END_MARKERS = (b"\xff\xd9", b"IEND")


def check_images(paths: Sequence[Path]) -> None:
    """Raise a `UserError` that names the files of ``paths`` that are missing or cut short."""
    missing: list[Path] = []
    broken: list[Path] = []
    with progress(len(paths), "check images") as advance:
        for path in paths:
            state = missing if not path.is_file() else broken if not is_whole(path) else None
            if state is not None:
                state.append(path)
            advance()
    sentences = [
        f"{len(found)} of {len(paths)} image files {what}: {', '.join(map(str, found[:NAMED]))}"
        + (" and others" if len(found) > NAMED else "")
        for found, what in ((missing, "are missing"), (broken, "are cut short or broken"))
        if found
    ]
    if sentences:
        raise UserError("; ".join(sentences) + ".")


def is_whole(path: Path) -> bool:
    """Whether the file ends as an image does, or can be decoded to its last pixel."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    return any(marker in tail for marker in END_MARKERS) or _decodes(path)


def _decodes(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError):  # Pillow says the latter of a broken PNG file
        return False
    return True
