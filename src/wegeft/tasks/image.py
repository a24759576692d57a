"""A task that is an image in and a class out, described by YAML alone: source, splits, transforms.

Does not: find or read image files (its source does), train, or score.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from wegeft.errors import UserError
from wegeft.schema import load_target
from wegeft.tasks.base import DataSummary, Names, Task, TaskConfig
from wegeft.tasks.image_source import ImageExample, ImageSource
from wegeft.tasks.image_transform import Normalisation, TransformConfig
from wegeft.tasks.protocol import BaseProtocol

if TYPE_CHECKING:
    from wegeft.models import Backbone
    from wegeft.tasks.image_prepared import PreparedImages


class ImageProtocol(BaseProtocol):
    """Rules from images to a loss and a score.

    Attributes:
        class_numbering: ``all_splits`` numbers the classes that occur in any split; ``per_split`` numbers those of
            each split by themselves, as the official code does, so that a split without some class has other labels.
        label_smoothing: share of the target that is spread over all classes.
    """

    class_numbering: Literal["all_splits", "per_split"]
    label_smoothing: float = Field(ge=0, lt=1)


class ImageTaskConfig(TaskConfig):
    """One set of labelled images.

    Attributes:
        subset: name of the set, and of its column in a table.
        sources: data source by scale name; ``source`` is usually an interpolation into it.
        source: open group of the data source in use.
        by_scale: values by scale name that other keys draw on through interpolation; nothing reads them directly.
        classes: number of classes, which is the width of the head.
        train_splits: parts trained on, one after the other.
        test_split: part scored. Scores of any other than ``test`` are named after it, so that no table takes them.
        train_transform, test_transform: from an image to pixels.
        normalisation: from pixels to the network's input.
    """

    subset: str
    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    source: dict[str, Any]
    by_scale: dict[str, dict[str, Any]] = Field(default_factory=dict)
    classes: int = Field(ge=2)
    train_splits: Names = Field(min_length=1)
    test_split: str
    train_transform: TransformConfig
    test_transform: TransformConfig
    normalisation: Normalisation

    @model_validator(mode="after")
    def _whole(self) -> "ImageTaskConfig":
        load_target(self.source, "task.source")
        if self.test_split in self.train_splits:
            raise ValueError(f"task.test_split={self.test_split} is also trained on (task.train_splits)")
        return self


class ImageTask(Task):
    """Images of one source, with the transforms of the config."""

    Config: ClassVar[type[ImageTaskConfig]] = ImageTaskConfig
    Protocol: ClassVar[type[BaseProtocol]] = ImageProtocol
    families: ClassVar[frozenset[str]] = frozenset({"image_classifier"})

    def __init__(self, config: ImageTaskConfig) -> None:
        super().__init__(config)
        self.config = config
        source_class, source_config = load_target(config.source, "task.source")
        self.source: ImageSource = source_class(source_config)

    @property
    def scored_subset(self) -> str:
        """What the score is called."""
        part = self.config.test_split
        return self.config.subset if part == "test" else f"{self.config.subset}/{part}"

    def train_examples(self) -> list[ImageExample]:
        """Training images, split after split; shuffling is the loop's."""
        return [example for split in self.config.train_splits for example in self._examples(split)]

    def test_examples(self) -> Sequence[ImageExample]:
        """Images to be scored."""
        return self._examples(self.config.test_split)

    def check_data(self) -> None:
        """See :meth:`Task.check_data`; also that no split is empty and the source has as many classes as the head."""
        for split in self._splits():
            self._examples(split)
            self.source.check(split)
        found = len(self.source.classes())
        if found != self.config.classes:
            raise UserError(f"task.classes={self.config.classes}, but the data has {found} classes.")

    def expected_train_examples(self) -> int | None:
        """See :meth:`Task.expected_train_examples`."""
        counts = [self.source.expected(split) for split in self.config.train_splits]
        return None if None in counts else sum(count for count in counts if count is not None)

    def expected_test_examples(self) -> dict[str, int] | None:
        """See :meth:`Task.expected_test_examples`."""
        count = self.source.expected(self.config.test_split)
        return None if count is None else {self.scored_subset: count}

    def scored_uids(self, protocol: BaseProtocol) -> frozenset[str]:
        """See :meth:`Task.scored_uids`."""
        del protocol
        return frozenset(example.uid for example in self.test_examples())

    def prepare(self, backbone: "Backbone", protocol: ImageProtocol) -> "PreparedImages":
        """See :meth:`Task.prepare`."""
        from wegeft.tasks.image_prepared import PreparedImages

        return PreparedImages(self, protocol, backbone)

    def data_summary(self) -> dict[str, DataSummary]:
        """See :meth:`Task.data_summary`."""
        return dict(self._summary)

    def chance(self) -> dict[str, float] | None:
        """See :meth:`Task.chance`: one over the number of classes."""
        return {self.scored_subset: 1 / self.config.classes}

    @cached_property
    def _summary(self) -> dict[str, DataSummary]:
        return {f"{self.config.subset}/{split}": self._summarise(split) for split in self._splits()}

    def _summarise(self, split: str) -> DataSummary:
        return DataSummary(
            rows=len(self.source.examples(split)),
            expected=self.source.expected(split),
            sha256=self.source.content_hash(split),
        )

    def _splits(self) -> tuple[str, ...]:
        return (*self.config.train_splits, self.config.test_split)

    def _examples(self, split: str) -> Sequence[ImageExample]:
        examples = self.source.examples(split)
        if not examples:
            raise UserError(f"task={self.name} has no images in {self.config.subset}/{split}.")
        return examples
