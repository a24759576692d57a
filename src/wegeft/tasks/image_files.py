"""Images in files: listed with their classes in one JSON file per split, the format of the official code.

A split file is an object ``{path of the image: class}``; classes are numbers or their decimal text and need neither
start at 0 nor be without gaps.

Does not: decode images, except to tell whether one is whole.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import field_validator

from wegeft.errors import UserError
from wegeft.schema import Strict
from wegeft.tasks.data_file import read_bytes
from wegeft.tasks.image_check import check_images
from wegeft.tasks.image_source import ImageExample, ImageSource


class SplitFilesConfig(Strict):
    """Where the files are.

    Attributes:
        subset: name of the set, with which the images' ids begin.
        root: folder below which everything lies; None is refused when images are first needed.
        images: folder below ``root`` from which the paths in the split files start.
        split_file: path below ``root``; ``{split}`` stands for the split. A file of that name with ``.gz`` will do.
        splits: all splits there are; the classes are those that occur in them.
        class_numbering: see :class:`wegeft.tasks.image.ImageProtocol`.
        expected_images: images of the published splits.
    """

    subset: str
    root: str | None
    images: str
    split_file: str
    splits: tuple[str, ...]
    class_numbering: Literal["all_splits", "per_split"]
    expected_images: dict[str, int]

    @field_validator("images", "split_file")
    @classmethod
    def _inside_root(cls, value: str) -> str:
        if Path(value).is_absolute() or ".." in Path(value).parts:
            raise ValueError(f"{value} must be a path below data.root")
        return value


class SplitFiles(ImageSource):
    """Images named by JSON split files."""

    Config: ClassVar[type[SplitFilesConfig]] = SplitFilesConfig

    def __init__(self, config: SplitFilesConfig) -> None:
        self.config = config

    def classes(self) -> Sequence[str]:
        """The raw class numbers as text; where the images lie in folders by class, the folders' names."""
        return [self._names.get(raw, str(raw)) for raw in self._numbering]

    def examples(self, split: str) -> Sequence[ImageExample]:
        """See :meth:`ImageSource.examples`."""
        folder, listed = self._root() / self.config.images, self._listed(split)
        numbering = self._numbering if self.config.class_numbering == "all_splits" else _contiguous(listed.values())
        return [
            ImageExample(f"{self.config.subset}/{split}/{name}", folder / name, numbering[raw])
            for name, raw in listed.items()
        ]

    def check(self, split: str) -> None:
        """See :meth:`ImageSource.check`."""
        check_images([Path(str(example.image)) for example in self.examples(split)])

    def expected(self, split: str) -> int | None:
        """See :meth:`ImageSource.expected`."""
        return self.config.expected_images.get(split)

    @cached_property
    def _numbering(self) -> Mapping[int, int]:
        """Raw class number → class id from 0, over all splits."""
        return _contiguous(raw for split in self.config.splits for raw in self._listed(split).values())

    @cached_property
    def _names(self) -> Mapping[int, str]:
        """Raw class number → name of the one folder that holds its images; empty where folders are not classes."""
        folders: dict[int, set[str]] = {}
        for split in self.config.splits:
            for name, raw in self._listed(split).items():
                folders.setdefault(raw, set()).add(Path(name).parent.name)
        names = {raw: next(iter(found)) for raw, found in folders.items() if len(found) == 1}
        return names if len(set(names.values())) == len(folders) else {}

    def _listed(self, split: str) -> Mapping[str, int]:
        if split not in self.config.splits:
            raise UserError(
                f"task.train_splits, task.test_split: there is no split {split}; choices: "
                f"{', '.join(self.config.splits)}."
            )
        return self._all_listed[split]

    @cached_property
    def _all_listed(self) -> Mapping[str, Mapping[str, int]]:
        return {
            split: read_split(self._root() / self.config.split_file.format(split=split)) for split in self.config.splits
        }

    def _root(self) -> Path:
        if self.config.root is None:
            raise UserError(
                f"data.root is not set: give the folder that holds {self.config.images} and {self.config.split_file}."
            )
        return Path(self.config.root)


def read_split(path: Path) -> dict[str, int]:
    """``{path of the image: raw class number}`` of one split file, or of its packed form ``path.gz``.

    Raises:
        UserError: no such file, or an entry that is none; the sentence names file and entry.
    """
    packed = path.with_name(path.name + ".gz")
    found = path if path.is_file() or not packed.is_file() else packed
    try:
        listed = json.loads(read_bytes(found))
    except ValueError as error:  # JSON, or its encoding
        raise UserError(f"split file {found} cannot be read: {error}.") from error
    if not isinstance(listed, dict) or not listed:
        raise UserError(f"split file {found} holds no object of image paths and classes.")
    return {name: _class_number(found, name, raw) for name, raw in listed.items()}


def _class_number(path: Path, name: str, raw: object) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.isdecimal():
        return int(raw)
    raise UserError(f"split file {path}, entry {name}: the class {raw!r} is not a number.")


def _contiguous(raw: Iterable[int]) -> dict[int, int]:
    """Raw class numbers in ascending order → class ids from 0."""
    return {number: position for position, number in enumerate(sorted(set(raw)))}
