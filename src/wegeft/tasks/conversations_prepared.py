"""A task of conversations made ready for one language model.

Does not: differ from other text tasks but in how it is answered.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from wegeft.evaluation.config import EvaluationConfig
from wegeft.tasks.encoding import TextEncoder
from wegeft.tasks.text_prepared import PreparedText

if TYPE_CHECKING:
    from wegeft.evaluation.result import Evaluation
    from wegeft.tasks.conversations import ConversationTask


class PreparedConversations(PreparedText):
    """See :class:`wegeft.tasks.prepared.Prepared`."""

    def __init__(self, task: "ConversationTask", encoder: TextEncoder, model: nn.Module) -> None:
        super().__init__(task, encoder, model)
        self._conversations = task

    def evaluate(self, model: nn.Module, config: EvaluationConfig, folder: Path) -> "Evaluation | None":
        """Answers to every turn of every question, kept in ``folder`` for a judge."""
        from wegeft.evaluation.converse import converse

        conversed = converse(model, self._encoder, self._conversations, config, folder)
        self._too_long_prompts = dict(conversed.too_long)
        self._leave_to_judge(folder, conversed.batch_size)
        return None
