"""Images in files, listed with their class ids in one text file per split, as VTAB-1k is passed around.

A list file holds a line ``path id`` per image; paths start from a folder of the configuration, ids from 0.

Does not: decode images, except to tell whether one is whole.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from wegeft.errors import UserError
from wegeft.schema import Strict
from wegeft.tasks.image_check import check_images
from wegeft.tasks.image_source import ImageExample, ImageSource


class ListFilesConfig(Strict):
    """Where the files are.

    Attributes:
        subset: name of the set, with which the images' ids begin.
        root: folder below which everything lies; None is refused when images are first needed.
        images: folder below ``root`` from which the paths in the lists start.
        list_file: path below ``root``; ``{split}`` stands for the split.
        splits: all splits there are.
        classes: number of classes; an id outside is refused.
        expected_images: images of the published splits.
    """

    subset: str
    root: str | None
    images: str
    list_file: str
    splits: tuple[str, ...]
    classes: int = Field(ge=2)
    expected_images: dict[str, int]

    @field_validator("images", "list_file")
    @classmethod
    def _inside_root(cls, value: str) -> str:
        if Path(value).is_absolute() or ".." in Path(value).parts:
            raise ValueError(f"{value} must be a path below data.root")
        return value


class ListFiles(ImageSource):
    """Images named by text lists."""

    Config: ClassVar[type[ListFilesConfig]] = ListFilesConfig

    def __init__(self, config: ListFilesConfig) -> None:
        self.config = config
        self._read: dict[str, Sequence[ImageExample]] = {}

    def classes(self) -> Sequence[str]:
        """The ids as text; the lists hold no names."""
        return [str(number) for number in range(self.config.classes)]

    def examples(self, split: str) -> Sequence[ImageExample]:
        """See :meth:`ImageSource.examples`."""
        if split not in self.config.splits:
            raise UserError(
                f"task.train_splits, task.test_split: there is no split {split}; choices: "
                f"{', '.join(self.config.splits)}."
            )
        if split not in self._read:
            self._read[split] = self._examples(split)
        return self._read[split]

    def check(self, split: str) -> None:
        """See :meth:`ImageSource.check`."""
        check_images([Path(str(example.image)) for example in self.examples(split)])

    def expected(self, split: str) -> int | None:
        """See :meth:`ImageSource.expected`."""
        return self.config.expected_images.get(split)

    def _examples(self, split: str) -> list[ImageExample]:
        if self.config.root is None:
            raise UserError(f"data.root is not set: give the folder that holds {self.config.images}.")
        root = Path(self.config.root)
        path = root / self.config.list_file.format(split=split)
        prefix, folder = f"{self.config.subset}/{split}", root / self.config.images
        return [
            ImageExample(f"{prefix}/{name}", folder / name, label)
            for name, label in read_list(path, self.config.classes).items()
        ]


def read_list(path: Path, classes: int) -> Mapping[str, int]:
    """``{path of the image: class id}`` of one list file.

    Raises:
        UserError: no such file, or a line that is none; the sentence names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"list file {path} cannot be read: {error}.") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdecimal() or int(label) >= classes:
            raise UserError(f"list file {path}, line {number}: {line!r} is no path and class id below {classes}.")
        if name in found:
            raise UserError(f"list file {path}, line {number}: {name} was listed before.")
        found[name] = int(label)
    return found
