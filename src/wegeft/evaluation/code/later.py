"""Programs that one machine wrote and another runs: scores of kept answers.

The tests stand in the samples, so that neither data files nor weights are needed here.

Does not: write the answers, or keep their scores (``mode=judge`` does).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from wegeft.evaluation.code.judge import solves
from wegeft.evaluation.code.sandbox import Isolation, require_isolation
from wegeft.evaluation.judging.judged import Judged
from wegeft.evaluation.metrics import pass_at_k
from wegeft.evaluation.rescore import base_subset
from wegeft.evaluation.result import Score, accuracy_of_repeats, mean_over_questions
from wegeft.evaluation.samples import Sample
from wegeft.progress import progress

if TYPE_CHECKING:
    from wegeft.tasks.text import TextTask

Program = tuple[str, str]
"""An answer as its rule reads it, and the problem that it is meant to solve."""


def run_kept(samples: Sequence[Sample], task: "TextTask", isolation: Isolation) -> Judged:
    """Run every answer that is kept in ``samples`` against the tests of its problem, several at a time.

    Raises:
        UserError: no sandbox, and ``isolation`` asks for one.
    """
    if isolation == "sandboxed":
        require_isolation()
    read = [_read(sample, task) for sample in samples]
    programs = list(dict.fromkeys(found for by_rule in read for found in by_rule.values() if found is not None))
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(len(programs), "run answers") as advance:

        def passes(found: Program) -> bool:
            right = solves(*found, isolation)
            advance()
            return right

        right = dict(zip(programs, pool.map(passes, programs), strict=True))
    scored = tuple(_scored(*pair, right) for pair in zip(samples, read, strict=True))
    return Judged({score.subset: score for score in _scores(scored, task)}, _reader(samples, task), scored)


def _read(sample: Sample, task: "TextTask") -> dict[str, Program | None]:
    """What each rule of today takes out of ``sample``; the first is the reported one."""
    texts = {name: rule.extract(sample.text) for name, rule in task.extractors(base_subset(sample.subset)).items()}
    return {name: None if text is None else (text, sample.gold) for name, text in texts.items()}


def _scored(sample: Sample, read: Mapping[str, Program | None], right: Mapping[Program, bool]) -> Sample:
    verdicts = {name: (found and found[0], float(found is not None and right[found])) for name, found in read.items()}
    (_, (extracted, score)), *others = verdicts.items()
    beside = {name: dict(zip(("extracted", "score"), verdict, strict=True)) for name, verdict in others}
    return replace(sample, extracted=extracted, score=score, others=beside)


def _scores(samples: Sequence[Sample], task: "TextTask") -> Iterator[Score]:
    """As an evaluation names them: a set's score, ``SET/RULE`` for another rule, ``SET/pass@K``."""
    for subset in dict.fromkeys(sample.subset for sample in samples):
        base, _, way = subset.partition("/")
        answers: dict[str, list[Sample]] = {}
        for sample in samples:
            if sample.subset == subset:
                answers.setdefault(sample.uid, []).append(sample)
        right = [[sample.score == 1.0 for sample in found] for found in answers.values()]
        chance = (task.chance() or {}).get(base)
        yield accuracy_of_repeats(subset, right, chance)
        for rule in list(task.extractors(base))[1:]:
            verdicts = [[sample.others[rule]["score"] == 1.0 for sample in found] for found in answers.values()]
            yield accuracy_of_repeats(f"{subset}/{rule}", verdicts, chance)
        for k in task.ways[way or next(iter(task.ways))].pass_at:
            values = [pass_at_k(len(found), sum(found), k) for found in right]
            yield mean_over_questions(f"{subset}/pass@{k}", f"pass@{k}", values, None)


def _reader(samples: Sequence[Sample], task: "TextTask") -> tuple[str, str]:
    """Names and versions of the rules behind the reported scores, as an evaluation that runs them itself has them."""
    rules = [next(iter(task.extractors(base_subset(sample.subset)).values())) for sample in samples]
    versions = {rule.label: rule.version for rule in rules}
    return "+".join(versions), "+".join(map(str, versions.values()))
