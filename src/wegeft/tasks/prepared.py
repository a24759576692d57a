"""A task made ready for one backbone: what the loop trains on and how the trained model is evaluated.

The one interface between the runner and every kind of task, text or images.

Does not: hold any data of its own kind; implementations live beside their tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from torch import nn

from wegeft.config import TrainingConfig
from wegeft.evaluation.config import EvaluationConfig

if TYPE_CHECKING:
    from wegeft.evaluation.result import Evaluation
    from wegeft.training.objective import Objective

Item = TypeVar("Item")


@dataclass(frozen=True)
class FirstPrompt:
    """The first training prompt as the network sees it, kept in the record.

    Attributes:
        text: rendered text.
        input_ids: its token ids, specials included.
        special_tokens: name of each special token and its id.
    """

    text: str
    input_ids: tuple[int, ...]
    special_tokens: dict[str, int | None]


class EpochChoice(Protocol):
    """How a task that does not report the end of a training chooses the epoch that it reports."""

    def judge(self, model: nn.Module) -> float:
        """How good ``model``, in evaluation mode, is after an epoch; larger is better."""

    def chosen(self, epoch: int, values: Sequence[float]) -> None:
        """Told the epoch that is reported, counted from 1, and how good every epoch was."""


class Prepared(Protocol[Item]):
    """A task for one backbone; ``epoch_choice`` is None where the end of the training is reported."""

    train_items: Sequence[Item]
    objective: "Objective[Item]"
    first_prompt: FirstPrompt | None
    epoch_choice: EpochChoice | None

    def objective_for(self, model: nn.Module, config: TrainingConfig) -> "Objective[Item]":
        """:attr:`objective`, or one that gives the same for the adapted ``model`` at less cost.

        Raises:
            UserError: the training as ``config`` has it would minimise another loss than the model's.
        """

    def evaluate(self, model: nn.Module, config: EvaluationConfig, folder: Path) -> "Evaluation | None":
        """Scores of ``model`` on the test sets; every sample is kept in ``folder``.

        None where the samples wait for a judge; :meth:`remarks` then names the command.
        """

    def remarks(self) -> dict[str, Any]:
        """Counted decisions worth recording (rows left out, prompts too long)."""
