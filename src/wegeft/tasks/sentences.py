"""Classifying sentences and pairs of them: a task for backbones with a classification head.

Does not: read files (its source does), tokenise (``wegeft.tasks.sentence_encoding``) or train.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from wegeft.errors import UserError
from wegeft.evaluation.metrics import Metric
from wegeft.schema import Strict, load_target
from wegeft.tasks.base import DataSummary, Task, TaskConfig
from wegeft.tasks.glue import SentencePair, halves
from wegeft.tasks.protocol import BaseProtocol

if TYPE_CHECKING:
    from wegeft.models import Backbone
    from wegeft.tasks.sentence_prepared import PreparedSentences

SentenceSplit = Literal["train", "dev"]


class SentenceProtocol(BaseProtocol):
    """How sentences are cut, and which state of a training is reported.

    Attributes:
        max_length: most tokens of an example, special tokens included; of a longer pair the longer sentence is cut, and
            the cuts are counted.
        choose_epoch: ``last`` reports the end of the training on all development rows. ``half``: the best epoch on one
            half of them is reported on the other; ``search`` scores it on the half that it is chosen on, for choosing
            hyper-parameters. ``reported``: the best epoch on all of them is reported on the same rows, as the published
            numbers are.
    """

    max_length: int = Field(ge=8)
    choose_epoch: Literal["last", "half", "search", "reported"]


class SentenceSource(ABC):
    """Sentence pairs for training and development, and what their labels mean."""

    Config: ClassVar[type[Strict]]

    @abstractmethod
    def pairs(self, split: SentenceSplit) -> Sequence[SentencePair]:
        """All examples of one split, in file order; UserError for missing or broken data."""

    @abstractmethod
    def check(self) -> None:
        """UserError if the examples cannot be had."""

    @abstractmethod
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of their ids; None for a score."""

    @abstractmethod
    def metric(self) -> Metric:
        """What is reported."""

    @abstractmethod
    def expected(self, split: SentenceSplit) -> int | None:
        """Published number of rows; None where nothing is published."""


class SentenceTaskConfig(TaskConfig):
    """One set.

    Attributes:
        subset: its name, under which it is scored.
        classes: width of the head: the number of classes, or 1 for a score.
        source: open group of the data source.
        epochs, learning_rates, by_model: values that the recipe draws on through interpolation; unused by the code.
    """

    subset: str
    classes: int = Field(ge=1)
    source: dict[str, Any]
    epochs: int | None = Field(default=None, ge=1)
    learning_rates: dict[str, float] = Field(default_factory=dict)
    by_model: dict[str, dict[str, int]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> "SentenceTaskConfig":
        target, config = load_target(self.source, "task.source")
        labels = target(config).labels()
        if self.classes != (1 if labels is None else len(labels)):
            raise ValueError(f"task.classes={self.classes} and task.subset={self.subset} has {labels or 'a score'}")
        return self


class SentenceTask(Task):
    """Sentences or pairs of them with one label each."""

    Config: ClassVar[type[SentenceTaskConfig]] = SentenceTaskConfig
    Protocol: ClassVar[type[BaseProtocol]] = SentenceProtocol
    families: ClassVar[frozenset[str]] = frozenset({"sequence_classifier"})

    def __init__(self, config: SentenceTaskConfig) -> None:
        super().__init__(config)
        self.config = config
        target, source_config = load_target(config.source, "task.source")
        self.source: SentenceSource = target(source_config)

    def development(self, protocol: SentenceProtocol) -> tuple[list[SentencePair], list[SentencePair]]:
        """Rows to choose the epoch on, and rows to report."""
        pairs = list(self.source.pairs("dev"))
        if protocol.choose_epoch not in ("half", "search"):
            return pairs, pairs
        choose, report = halves(pairs)
        if not choose or not report:
            raise UserError(f"{self.config.subset} has too few development rows to be halved.")
        return (choose, report) if protocol.choose_epoch == "half" else (choose, choose)

    def check_data(self) -> None:
        """See :meth:`Task.check_data`."""
        self.source.check()

    def expected_train_examples(self) -> int | None:
        """See :meth:`Task.expected_train_examples`."""
        return self.source.expected("train")

    def scored_uids(self, protocol: SentenceProtocol) -> frozenset[str]:
        """See :meth:`Task.scored_uids`."""
        return frozenset(pair.uid for pair in self.development(protocol)[1])

    def prepare(self, backbone: "Backbone", protocol: SentenceProtocol) -> "PreparedSentences":
        """See :meth:`Task.prepare`."""
        from wegeft.tasks.sentence_prepared import PreparedSentences

        if backbone.processor is None:
            raise UserError(f"model={backbone.config.name} has no tokenizer, so task={self.name} cannot be read by it.")
        return PreparedSentences(self, protocol, backbone)

    def data_summary(self) -> dict[str, DataSummary]:
        """See :meth:`Task.data_summary`; the development rows are called test, as in every task."""
        return dict(self._summary)

    def chance(self) -> dict[str, float] | None:
        """Share of the most frequent class, where accuracy is the metric; the correlations of a guess are 0."""
        if self.source.metric() != "accuracy":
            return {self.config.subset: 0.0}
        labels = [pair.label for pair in self.source.pairs("dev")]
        return {self.config.subset: max(labels.count(label) for label in set(labels)) / len(labels)}

    @cached_property
    def _summary(self) -> dict[str, DataSummary]:
        return {
            f"{self.config.subset}/{name}": DataSummary(
                rows=len(self.source.pairs(split)),
                expected=self.source.expected(split),
                sha256=_content_hash(self.source.pairs(split)),
            )
            for name, split in _NAMES
        }


_NAMES: tuple[tuple[str, SentenceSplit], ...] = (("train", "train"), ("test", "dev"))


def _content_hash(pairs: Sequence[SentencePair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.first, pair.second, pair.label]).encode())
        digest.update(b"\n")
    return digest.hexdigest()
