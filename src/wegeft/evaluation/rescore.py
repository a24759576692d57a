"""Scores again from kept answers, with today's extraction rules: no model, no data files, no GPU.

Does not: change the record or the samples of the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wegeft.errors import UserError
from wegeft.evaluation.compare import is_correct
from wegeft.evaluation.result import Score, accuracy_of_repeats
from wegeft.evaluation.samples import SAMPLES, Sample, read_samples
from wegeft.tasks import build_task
from wegeft.tasks.text import TextTask

Verdicts = dict[str, dict[str, list[bool]]]
"""By subset and question, whether each answer is right."""


@dataclass(frozen=True)
class Flip:
    """An answer that another rule, or another version of it, reads or scores differently.

    Attributes:
        sample: the answer as it was scored.
        extracted: what today's rule reads.
        score: today's score.
        rule: name, or name and version where it changed.
    """

    sample: Sample
    extracted: str | None
    score: float
    rule: str


@dataclass(frozen=True)
class Rescored:
    """What today's rules make of a run.

    Attributes:
        before: scores by subset as the samples hold them.
        after: scores by subset today.
        mean_before: unweighted mean over the subsets that are not leaked.
        mean_after: the same today.
        flips: every answer whose extracted text or score changed.
    """

    before: dict[str, Score]
    after: dict[str, Score]
    mean_before: float
    mean_after: float
    flips: tuple[Flip, ...]


def rescore(samples: Sequence[Sample], task: TextTask) -> Rescored:
    """Apply the first extraction rule of every subset to the kept texts."""
    first = {subset: next(iter(task.rules(base_subset(subset)).values())) for subset in {s.subset for s in samples}}
    before: Verdicts = {}
    after: Verdicts = {}
    flips = []
    for sample in samples:
        rule, comparison = first[sample.subset]
        extracted = rule.extract(sample.text)
        right = is_correct(comparison, extracted, sample.gold)
        before.setdefault(sample.subset, {}).setdefault(sample.uid, []).append(sample.score == 1.0)
        after.setdefault(sample.subset, {}).setdefault(sample.uid, []).append(right)
        if extracted != sample.extracted or right != (sample.score == 1.0):
            flips.append(Flip(sample, extracted, float(right), f"{rule.label} v{rule.version}"))
    old, new = _scores(before, task), _scores(after, task)
    return Rescored(old, new, _mean(old, task), _mean(new, task), tuple(flips))


def base_subset(subset: str) -> str:
    """The test set behind the ``subset`` of a sample, which may name a way of decoding as well."""
    return subset.partition("/")[0]


def rescore_run(folder: Path) -> Rescored:
    """Score the run kept in ``folder`` again.

    Raises:
        UserError: the folder has no resolved config or no samples, its task writes no text, or no rule scores it.
    """
    samples, task = read_samples(folder / SAMPLES), task_of_run(folder)
    if task.judged_later:
        raise UserError(f"no rule scores the answers in {folder}; mode=judge run={folder.name} does.")
    return rescore(samples, task)


def task_of_run(folder: Path) -> TextTask:
    """The task as the run's resolved ``config.yaml`` describes it."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"there is no run in {folder}: it has no config.yaml.")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    task = build_task(config["task"])
    if not isinstance(task, TextTask):
        raise UserError(
            f"the run in {folder} is of task={config['task']['name']}, which keeps no texts to score again."
        )
    return task


def print_rescored(found: Rescored, console: Console) -> None:
    """A line per subset, and every answer that changed."""
    table = Table("set", "before %", "now %", "n")
    for subset, score in found.after.items():
        table.add_row(subset, f"{100 * found.before[subset].value:.2f}", f"{100 * score.value:.2f}", str(score.n))
    table.add_row("mean", f"{100 * found.mean_before:.2f}", f"{100 * found.mean_after:.2f}", "")
    console.print(table)
    for flip in found.flips:
        old, new = flip.sample, flip
        line = f"{old.uid}: {old.extracted!r} ({old.score == 1.0:d}) -> {new.extracted!r} ({new.score:.0f})"
        console.print(Text(f"{line}, gold {old.gold!r}, by {old.extractor} v{old.extractor_version} -> {new.rule}"))
        console.print(Text(f"    {old.text!r}"))
    console.print(f"{len(found.flips)} answers are read or scored differently.")


def _scores(verdicts: Verdicts, task: TextTask) -> dict[str, Score]:
    chance = task.chance() or {}
    return {
        subset: accuracy_of_repeats(subset, list(answers.values()), chance.get(base_subset(subset)))
        for subset, answers in verdicts.items()
    }


def _mean(scores: dict[str, Score], task: TextTask) -> float:
    return fmean(scores[subset].value for subset in task.counted(scores))
