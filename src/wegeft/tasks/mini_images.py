"""The mini pictures as a source of labelled images that a task can name in YAML.

Does not: draw anything (``wegeft.tasks.mini_pictures`` does).
"""

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from pydantic import Field

from wegeft.errors import UserError
from wegeft.schema import Strict, did_you_mean
from wegeft.tasks.image_source import Box, ImageExample, ImageSource
from wegeft.tasks.mini_pictures.sets import PictureSet, Split, picture_sets


class MiniPicturesConfig(Strict):
    """Which pictures, and how many.

    Attributes:
        set: one of the sets of ``wegeft.tasks.mini_pictures.sets``.
        world_seed: the world; the packaged backbone has seen creatures of world 0.
        size: height and width in pixels.
        pictures: number of pictures by split; classes take turns.
    """

    set: str
    world_seed: int = Field(ge=0)
    size: int = Field(ge=8)
    pictures: dict[Split, int]


class MiniPictures(ImageSource):
    """Generated pictures; the box of an example is the object's, where there is exactly one."""

    Config: ClassVar[type[MiniPicturesConfig]] = MiniPicturesConfig

    def __init__(self, config: MiniPicturesConfig) -> None:
        self.config = config

    def classes(self) -> Sequence[str]:
        """See :meth:`ImageSource.classes`."""
        return self._set().classes

    def examples(self, split: str) -> Sequence[ImageExample]:
        """See :meth:`ImageSource.examples`."""
        name, seed, size = self._set().name, self.config.world_seed, self.config.size
        return _examples(name, seed, self._known(split), self.config.pictures[self._known(split)], size)

    def check(self, split: str) -> None:
        """See :meth:`ImageSource.check`; draws nothing."""
        self._known(split)
        self._set()

    def expected(self, split: str) -> int | None:
        """See :meth:`ImageSource.expected`: nothing is published, and the number of pictures is what was asked for."""
        return self.config.pictures[self._known(split)]

    def _known(self, split: str) -> Split:
        for known in self.config.pictures:
            if split == known:
                return known
        raise UserError(f"task.source.pictures has no split {split}; it has {', '.join(self.config.pictures)}.")

    def _set(self) -> PictureSet:
        sets = picture_sets(self.config.world_seed)
        if self.config.set not in sets:
            near = did_you_mean(self.config.set, sets)
            raise UserError(f"task.source.set={self.config.set} is not known{near}; choices: {', '.join(sets)}.")
        return sets[self.config.set]


@cache
def _examples(name: str, seed: int, split: Split, count: int, size: int) -> tuple[ImageExample, ...]:
    found = picture_sets(seed)[name]
    drawn = (found.picture(split, index, size) for index in range(count))
    return tuple(
        ImageExample(f"{name}/{split}/{i}", picture.pixels_HWC, found.label(i), _only(picture.boxes))
        for i, picture in enumerate(drawn)
    )


def _only(boxes: Sequence[Box]) -> Box | None:
    return boxes[0] if len(boxes) == 1 else None
