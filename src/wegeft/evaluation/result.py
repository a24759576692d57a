"""What an evaluation found: one score per test set, their mean, and where the samples are.

Does not: compute answers or read samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any


@dataclass(frozen=True)
class Score:
    """One number about one test set.

    Attributes:
        subset: test set; ``AQuA/strict`` is the score of the second extraction rule ``strict`` on AQuA.
        metric: what is measured, e.g. ``accuracy``.
        value: the number, from 0 to 1 for an accuracy.
        stderr: standard error of ``value`` over the questions; None where it is not known.
        n: questions.
        chance: expected value of guessing, None if unknown.
    """

    subset: str
    metric: str
    value: float
    stderr: float | None
    n: int
    chance: float | None


@dataclass(frozen=True)
class Evaluation:
    """All scores of one evaluation.

    Attributes:
        scores: by name, in the order of the published table.
        mean: unweighted mean of the scores that count (no leaked sets, no second extraction rules).
        n: questions answered.
        samples_path: file with every answer.
        seconds: wall time.
        tokens_generated: new tokens over all answers, EOS included.
        batch_size: prompts decoded together.
        extractor: name and version of the rule behind the scores.
        other_means: as ``mean``, for every further way of answering, by its name.
        too_long: by subset, how many prompts ``protocol.max_length`` cut or left unanswered, where there are any.
    """

    scores: Mapping[str, Score]
    mean: float
    n: int
    samples_path: Path | None
    seconds: float
    tokens_generated: int
    batch_size: int
    extractor: Mapping[str, Any]
    other_means: Mapping[str, float] = field(default_factory=dict)
    too_long: Mapping[str, int] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """The part ``evaluation`` of a record."""
        scores = {}
        for name, score in self.scores.items():
            fields = asdict(score)
            del fields["subset"]
            scores[name] = fields
        return {
            "seconds": self.seconds,
            "n": self.n,
            "scores": scores,
            "mean": self.mean,
            **({"other_means": dict(self.other_means)} if self.other_means else {}),
            "extractor": dict(self.extractor),
            "batch_size": self.batch_size,
            "tokens_generated": self.tokens_generated,
            "samples": None if self.samples_path is None else self.samples_path.name,
        }


def accuracy(subset: str, correct: Sequence[bool], chance: float | None) -> Score:
    """Share of right answers with its standard error, the sample standard deviation over √n (None for one answer)."""
    return accuracy_of_repeats(subset, [[right] for right in correct], chance)


def accuracy_of_repeats(subset: str, correct: Sequence[Sequence[bool]], chance: float | None) -> Score:
    """Share of right answers where every question is answered several times; the standard error is over questions.

    Args:
        subset: name of the score.
        correct: by question, whether each of its answers is right; all have equally many.
        chance: expected value of guessing.
    """
    return mean_over_questions(subset, "accuracy", [fmean(answers) for answers in correct], chance)


def mean_over_questions(name: str, metric: str, values: Sequence[float], chance: float | None) -> Score:
    """The mean of one value per question with its standard error, the sample standard deviation over √n."""
    stderr = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Score(name, metric, fmean(values), stderr, len(values), chance)
