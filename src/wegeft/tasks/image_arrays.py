"""Images in one NumPy archive: ``x_SPLIT`` (N, H, W, 3), uint8, ``y_SPLIT`` (N,), and ``classes`` with their names.

Does not: read pickled arrays.
"""

import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wegeft.errors import UserError
from wegeft.schema import Strict
from wegeft.tasks.data_file import UNREADABLE
from wegeft.tasks.image_source import ImageExample, ImageSource


class ArrayFileConfig(Strict):
    """Where the archive is.

    Attributes:
        subset: name of the set, with which the images' ids begin.
        root: folder below which the archive lies.
        file: path below ``root``.
        expected_images: images of the published splits.
    """

    subset: str
    root: str | None
    file: str
    expected_images: dict[str, int]


class ArrayFile(ImageSource):
    """Images of one ``.npz`` file."""

    Config: ClassVar[type[ArrayFileConfig]] = ArrayFileConfig

    def __init__(self, config: ArrayFileConfig) -> None:
        self.config = config

    def classes(self) -> Sequence[str]:
        """The names in the archive."""
        return [str(name) for name in self._arrays["classes"]]

    def examples(self, split: str) -> Sequence[ImageExample]:
        """See :meth:`ImageSource.examples`."""
        self.check(split)
        pairs = zip(self._arrays[f"x_{split}"], self._arrays[f"y_{split}"], strict=True)
        prefix = f"{self.config.subset}/{split}"
        return [ImageExample(f"{prefix}/{number}", image, int(label)) for number, (image, label) in enumerate(pairs)]

    def check(self, split: str) -> None:
        """See :meth:`ImageSource.check`: that the arrays are there and fit together."""
        arrays = self._arrays
        missing = [name for name in (f"x_{split}", f"y_{split}", "classes") if name not in arrays]
        if missing:
            raise UserError(f"{self._path()} has no array {missing[0]}; it has {', '.join(arrays)}.")
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or len(images) != len(labels):
            raise UserError(f"{self._path()}: x_{split} must be (N, H, W, 3) of uint8 with N labels in y_{split}.")
        wrong = [label for label in labels.tolist() if not 0 <= label < len(arrays["classes"])]
        if wrong:
            raise UserError(f"{self._path()}: y_{split} holds the label {wrong[0]}, which is no class.")

    def expected(self, split: str) -> int | None:
        """See :meth:`ImageSource.expected`."""
        return self.config.expected_images.get(split)

    @cached_property
    def _arrays(self) -> Mapping[str, Any]:
        try:
            with np.load(self._path(), allow_pickle=False) as archive:
                return dict(archive)
        except (*UNREADABLE, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"array file {self._path()} cannot be read: {error}.") from error

    def _path(self) -> Path:
        if self.config.root is None:
            raise UserError(f"data.root is not set: give the folder that holds {self.config.file}.")
        return Path(self.config.root) / self.config.file
