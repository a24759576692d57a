"""A task of sentences made ready for one classifier: encoded examples, objective, choice of the epoch, evaluation.

Does not: train.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from wegeft.config import TrainingConfig
from wegeft.errors import UserError
from wegeft.evaluation.config import EvaluationConfig
from wegeft.tasks.prepared import EpochChoice, FirstPrompt
from wegeft.tasks.sentence_encoding import EncodedPair, SentenceEncoder
from wegeft.training.sentence_objective import SentenceObjective

if TYPE_CHECKING:
    from wegeft.evaluation.result import Evaluation
    from wegeft.models import Backbone
    from wegeft.tasks.sentences import SentenceProtocol, SentenceTask
    from wegeft.training.objective import Objective

VALIDATION_BATCH = 64
"""Examples at once while an epoch is judged; the predictions do not depend on it."""


class PreparedSentences:
    """See :class:`wegeft.tasks.prepared.Prepared`."""

    def __init__(self, task: "SentenceTask", protocol: "SentenceProtocol", backbone: "Backbone") -> None:
        """Encode training and development examples."""
        self._task = task
        self._encoder = SentenceEncoder(backbone.processor, protocol.max_length)
        _check_room(backbone.model, protocol.max_length)
        choose, report = task.development(protocol)
        self.train_items: Sequence[EncodedPair] = self._encoder.encode(task.source.pairs("train"))
        self._report = self._encoder.encode(report)
        self._choose = self._report if choose == report else self._encoder.encode(choose)
        self._chosen: dict[str, Any] = {}
        self._rule = protocol.choose_epoch
        subset = task.config.subset
        self._name = f"{subset}/{self._rule}" if self._rule == "search" else subset  # no table takes what was chosen on
        self.objective: Objective[EncodedPair] = SentenceObjective(self._encoder)
        self.first_prompt: FirstPrompt | None = _first_prompt(self.train_items[0], self._encoder)
        self.epoch_choice: EpochChoice | None = None if protocol.choose_epoch == "last" else self

    def objective_for(self, model: nn.Module, config: TrainingConfig) -> "Objective[EncodedPair]":
        """:attr:`objective`: there is nothing to be had for less."""
        del model, config
        return self.objective

    def judge(self, model: nn.Module) -> float:
        """The metric on the rows that the epoch is chosen on."""
        from wegeft.evaluation.sentences import measure, predict

        predicted = predict(model, self._encoder, self._choose, VALIDATION_BATCH)
        return measure(self._task.source.metric(), predicted, self._choose)

    def chosen(self, epoch: int, values: Sequence[float]) -> None:
        """Keep for the record which epoch is reported, counted from 1, and the metric of every epoch."""
        self._chosen = {"chosen_epoch": epoch, "chosen_on": self._rule, "metric_by_epoch": list(values)}

    def evaluate(self, model: nn.Module, config: EvaluationConfig, folder: Path) -> "Evaluation":
        """The metric on the rows that are reported; the predictions go to ``folder``."""
        from wegeft.evaluation.sentences import evaluate_sentences

        source = self._task.source
        return evaluate_sentences(
            model,
            self._encoder,
            self._report[: config.limit],
            self._name,
            source.metric(),
            source.labels(),
            (self._task.chance() or {}).get(self._task.config.subset),
            config,
            folder,
        )

    def remarks(self) -> dict[str, Any]:
        """The epoch that was chosen, how many examples were cut, and how many are reported where not all are."""
        cut = {"examples_cut": self._encoder.cut} if self._encoder.cut else {}
        part = len(self._report) < len(self._task.source.pairs("dev"))
        reported = {"reported_rows": {self._name: len(self._report)}} if part else {}
        return cut | reported | self._chosen


def _check_room(model: Any, max_length: int) -> None:
    """Raise a `UserError` if the backbone has fewer positions than an example may have tokens."""
    config = model.config
    # RoBERTa counts positions from the id of padding on.
    offset = config.pad_token_id + 1 if config.model_type == "roberta" else 0
    positions = config.max_position_embeddings - offset
    if positions < max_length:
        raise UserError(
            f"protocol.max_length={max_length} and the backbone has {positions} positions; set it to {positions}."
        )


def _first_prompt(example: EncodedPair, encoder: SentenceEncoder) -> FirstPrompt:
    text = "\n".join(part for part in (example.pair.first, example.pair.second) if part is not None)
    return FirstPrompt(text, example.input_ids, {"pad": encoder.pad_id})
