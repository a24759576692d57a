"""Where labelled images come from: any class with the methods of :class:`ImageSource`.

Does not: read a particular layout of files (its subclasses do), crop, or normalise.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from wegeft.errors import UserError
from wegeft.schema import Strict

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge of an object, in pixels of the image as it is stored."""


@dataclass(frozen=True)
class ImageExample:
    """One image with its class.

    Attributes:
        uid: subset, split and what names the image in it, e.g. ``cub/test/001.Black_footed_Albatross/a.jpg``.
        image: file, or pixels (H, W, 3), uint8.
        label: class id from 0.
        box: where the object is, where that is known.
    """

    uid: str
    image: "Path | np.ndarray[Any, np.dtype[np.uint8]]"
    label: int
    box: Box | None = None

    def content(self) -> bytes:
        """The bytes of the file, or of the pixels."""
        return self.image.read_bytes() if isinstance(self.image, Path) else self.image.tobytes()


class ImageSource(ABC):
    """Labelled images, split into parts of any name (``train``, ``val``, ``test``)."""

    Config: ClassVar[type[Strict]]

    @abstractmethod
    def classes(self) -> Sequence[str]:
        """Names of the classes in the order of their ids."""

    @abstractmethod
    def examples(self, split: str) -> Sequence[ImageExample]:
        """Images of one split, in order; UserError for missing or broken data or an unknown split."""

    @abstractmethod
    def check(self, split: str) -> None:
        """UserError that names the images that are missing or cut short, if there are any."""

    @abstractmethod
    def expected(self, split: str) -> int | None:
        """Images of the published split, or None where nothing is published."""

    def content_hash(self, split: str) -> str:
        """SHA-256 of the names, labels and images of :meth:`examples`."""
        digest = hashlib.sha256()
        for example in self.examples(split):
            digest.update(f"{example.uid}\t{example.label}\t".encode())
            digest.update(hashlib.sha256(example.content()).digest())
        return digest.hexdigest()


def open_image(example: ImageExample) -> "Image":
    """The image in RGB; grey ones and palettes are converted, transparency is dropped.

    Raises:
        UserError: the file cannot be decoded.
    """
    from PIL import Image

    if not isinstance(example.image, Path):
        return Image.fromarray(example.image)
    try:
        with Image.open(example.image) as image:
            return image.convert("RGB")
    except OSError as error:  # Pillow's own errors are of this kind
        raise UserError(f"image file {example.image} cannot be read: {error}.") from error
