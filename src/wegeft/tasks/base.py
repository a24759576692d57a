"""What every task is: something that can be made ready for a backbone, and what is known about its data.

Does not: tokenise, generate or score.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator

from wegeft.schema import Strict
from wegeft.tasks.protocol import BaseProtocol

if TYPE_CHECKING:
    from wegeft.evaluation.decoding import DecodingConfig
    from wegeft.models import Backbone
    from wegeft.tasks.prepared import Prepared


@dataclass(frozen=True)
class Example:
    """One question with its answer, rendered.

    Attributes:
        uid: subset, split and row number in the file, e.g. ``boolq/test/17``.
        subset: name of the data set within the task.
        prompt: text that the model reads, up to its last blank or line break.
        target: text that it learns to write, without the end-of-sequence token.
        gold: the answer that an extracted answer is compared with.
        listed: the texts that give the answers among which the question lets choose, where somebody asks for them.
    """

    uid: str
    subset: str
    prompt: str
    target: str
    gold: str
    listed: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSummary:
    """What one file or generated set contributed to a run.

    Attributes:
        rows: rows used.
        expected: rows of the published set; None where there is none. A smaller ``rows`` is not the published run.
        sha256: hash of the rows used, independent of the file's formatting.
    """

    rows: int
    expected: int | None
    sha256: str


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise ValueError(f"it names {twice} twice; name each once")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_each_once)]
"""Parts of the data, each named once: rows that were taken twice would weigh twice, and no record would say so."""


class TaskConfig(Strict):
    """What every task's config has."""

    name: str


class Task(ABC):
    """A task; subclasses say which backbone families they fit, and what their config group and protocol hold."""

    Config: ClassVar[type[TaskConfig]]
    Protocol: ClassVar[type[BaseProtocol]]
    families: ClassVar[frozenset[str]]

    def __init__(self, config: Any) -> None:
        self.name: str = config.name

    @abstractmethod
    def data_summary(self) -> dict[str, DataSummary]:
        """Rows, expected rows and content hash by ``subset/split``."""

    @abstractmethod
    def check_data(self) -> None:
        """Look whether the data is there, without reading it whole; UserError if it is not."""

    @abstractmethod
    def expected_train_examples(self) -> int | None:
        """Training examples if the published data is there, for plans; None if nobody knows."""

    def expected_test_examples(self) -> Mapping[str, int] | None:
        """As :meth:`expected_train_examples`, of each test subset; None where a task does not say."""
        return None

    def answers_per_question(self) -> int:
        """How often a run answers each test question."""
        return 1

    @abstractmethod
    def scored_uids(self, protocol: Any) -> frozenset[str]:
        """Names of the examples that a run scores; two configurations call one example by one name.

        Raises:
            UserError: data that is missing or broken.
        """

    @abstractmethod
    def prepare(self, backbone: "Backbone", protocol: Any) -> "Prepared[Any]":
        """Encode the training examples for ``backbone``, and stand ready to evaluate it.

        ``protocol`` is an instance of the task's :attr:`Protocol`. Of ``backbone`` an outline will do: the weights are
        loaded afterwards, so that what is refused here costs nothing.

        Raises:
            UserError: data that is missing or broken, or that the protocol refuses.
        """

    def decodings(self) -> "Sequence[DecodingConfig]":
        """All ways in which test questions are answered with generated text; none where no text is generated."""
        return ()

    def content_hashes(self) -> dict[str, str]:
        """Content hash by ``subset/split``."""
        return {key: summary.sha256 for key, summary in self.data_summary().items()}

    def chance(self) -> dict[str, float] | None:
        """Accuracy of guessing by test subset, as far as it is known; None if it is for no subset."""
        return None
