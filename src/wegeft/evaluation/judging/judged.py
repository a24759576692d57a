"""What a judge made of kept answers.

Does not: judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from wegeft.errors import UserError
from wegeft.evaluation.result import Score
from wegeft.evaluation.samples import Sample


@dataclass(frozen=True)
class Judged:
    """Scores of a run that were made after it.

    Attributes:
        scores: by name.
        judge: who judged, with a version or the days of the judgements.
        samples: the answers with a score each; None where only all of them together have one.
    """

    scores: Mapping[str, Score]
    judge: tuple[str, str]
    samples: tuple[Sample, ...] | None = None


class Given(Protocol):
    """A judgement of any kind: who gave it, and on which day."""

    @property
    def judge(self) -> str:
        """Which judge, with its version."""

    @property
    def judged(self) -> str:
        """UTC date."""


def judge_and_days(judgements: Sequence[Given]) -> tuple[str, str]:
    """The one judge of all ``judgements``, and the day or days on which it gave them.

    Raises:
        UserError: several judges gave them.
    """
    names = sorted({judgement.judge for judgement in judgements})
    if len(names) > 1:
        raise UserError(
            f"the answers were judged by {' and '.join(names)}; name one of them (judge.model or judge.annotator), or "
            "remove the judgements of all but one."
        )
    days = sorted({judgement.judged for judgement in judgements})
    return names[0], days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
