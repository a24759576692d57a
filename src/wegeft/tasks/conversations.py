"""Conversations of several turns: trained on single instructions, asked MT-Bench's questions, graded by a judge.

Every turn is answered by the model itself, after what it answered before (``wegeft.evaluation.converse``).

Does not: generate or grade.
"""

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import field_validator

from wegeft.errors import UserError
from wegeft.evaluation.decoding import DecodingConfig
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.tasks.protocol import ProtocolConfig
from wegeft.tasks.questions import question_of
from wegeft.tasks.text import TextTask, TextTaskConfig

if TYPE_CHECKING:
    from wegeft.evaluation.judging.judged import Judged
    from wegeft.evaluation.samples import Sample
    from wegeft.models import Backbone
    from wegeft.tasks.conversations_prepared import PreparedConversations

ANSWERS, GRADES = "mt_bench_answers.jsonl", "mt_bench_judgements.jsonl"


class ConversationTaskConfig(TextTaskConfig):
    """A text task whose questions have several turns.

    Attributes:
        next_turn: template over ``instruction``, what stands between an answer and the answer to the next turn.
        temperatures: of the answers, by the category of the question; 0 is greedy.
    """

    next_turn: str
    temperatures: dict[str, float]

    @field_validator("next_turn")
    @classmethod
    def _next_turn_asks(cls, template: str) -> str:
        names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        if names != {"instruction"}:
            raise ValueError("the template must use {instruction} and no other field")
        return template


class ConversationTask(TextTask):
    """A text task that keeps the answers to all turns for a judge."""

    Config: ClassVar[type[ConversationTaskConfig]] = ConversationTaskConfig
    config: ConversationTaskConfig

    def __init__(self, config: ConversationTaskConfig) -> None:
        super().__init__(config)
        self.config = config

    @property
    def judged_later(self) -> bool:
        """See :attr:`TextTask.judged_later`."""
        return True

    def prepare(self, backbone: "Backbone", protocol: ProtocolConfig) -> "PreparedConversations":
        """See :meth:`Task.prepare`; also UserError for a category without a temperature."""
        from wegeft.tasks.conversations_prepared import PreparedConversations

        for examples in self.test_examples().values():
            for example in examples:
                self.temperature(question_of(example.gold).category)
        return PreparedConversations(self, self._encoder(backbone, protocol), backbone.model)

    def decodings(self) -> list[DecodingConfig]:
        """See :meth:`Task.decodings`; the temperature is that of each category."""
        temperatures = {0.0, *self.config.temperatures.values()}
        return [way.model_copy(update={"temperature": t}) for way in super().decodings() for t in sorted(temperatures)]

    def answers_per_question(self) -> int:
        """See :meth:`Task.answers_per_question`; one a turn."""
        return 2

    def temperature(self, category: str) -> float:
        """Of the answers to questions of ``category``; UserError if nobody has said."""
        if category not in self.config.temperatures:
            raise UserError(f"task.temperatures has none for {category}; it has {', '.join(self.config.temperatures)}.")
        return self.config.temperatures[category]

    def keep_for_judge(self, samples: Sequence["Sample"], folder: Path, generator: str) -> None:
        """See :meth:`TextTask.keep_for_judge`: the answers in FastChat's file format."""
        from wegeft.evaluation.judging.fastchat import write_answers

        write_answers(folder / ANSWERS, samples, generator)

    def judge(self, samples: Sequence["Sample"], folder: Path, config: JudgeConfig) -> "Judged":
        """See :meth:`TextTask.judge`: the mean grade of the first turns, that of later turns beside it.

        Grades are kept in the run's ``folder`` as they come and are not asked for again.
        """
        from wegeft.evaluation.judging.grade_answers import grade_answers

        return grade_answers(samples, folder / GRADES, folder.name, config)

    def second_prompt(self, first_prompt: str, answer: str, turn: str) -> str:
        """What the model reads before it answers ``turn``: all that was said before."""
        fields: Mapping[str, str] = {"instruction": turn}
        return first_prompt + answer + self.config.next_turn.format_map(fields)
