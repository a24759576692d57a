"""What a judge made of kept answers.

Does not: judge.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
