"""pass@k: how likely one of k answers to a programming problem passes its tests.

Does not: generate answers. They may come from another machine: a JSON-lines file with ``uid`` and ``code`` per line.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from wegeft.errors import UserError
from wegeft.evaluation.code.problems import Problem, program
from wegeft.evaluation.code.sandbox import Isolation, Limits, Outcome, require_isolation, run_program
from wegeft.evaluation.metrics import pass_at_k
from wegeft.evaluation.result import Score
from wegeft.progress import progress


@dataclass(frozen=True)
class Answer:
    """Code that a model wrote for one problem."""

    uid: str
    code: str


def run_answers(
    problems: Sequence[Problem],
    answers: Sequence[Answer],
    limits: Limits,
    isolation: Isolation = "sandboxed",
    workers: int | None = None,
) -> list[Outcome]:
    """Run every answer against the tests of its problem, several at a time; outcomes in the order of ``answers``.

    Raises:
        UserError: an answer to a problem that is not there, or no sandbox where one is asked for.
    """
    if isolation == "sandboxed":
        require_isolation()
    by_uid = {problem.uid: problem for problem in problems}
    unknown = next((answer.uid for answer in answers if answer.uid not in by_uid), None)
    if unknown is not None:
        raise UserError(f"there is an answer to {unknown}, which is no problem of this benchmark.")
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool, progress(len(answers), "run answers") as advance:

        def judge(answer: Answer) -> Outcome:
            outcome = run_program(program(by_uid[answer.uid], answer.code), limits, isolation)
            advance()
            return outcome

        return list(pool.map(judge, answers))


def score(name: str, problems: Sequence[Problem], passed: Mapping[str, Sequence[bool]], k: int) -> Score:
    """pass@k over all ``problems``; one without an answer counts as failed, and every other has equally many.

    Args:
        name: of the test set.
        problems: all of the benchmark.
        passed: by problem, whether each of its answers passed.
        k: answers of which one must pass.
    """
    tried = max(len(answers) for answers in passed.values())
    values = [pass_at_k(tried, sum(passed.get(problem.uid, ())), k) for problem in problems]
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Score(name, f"pass@{k}", fmean(values), error, len(values), None)


def by_problem(answers: Sequence[Answer], outcomes: Sequence[Outcome]) -> dict[str, list[bool]]:
    """Whether each answer passed, by problem."""
    found: dict[str, list[bool]] = {}
    for answer, outcome in zip(answers, outcomes, strict=True):
        found.setdefault(answer.uid, []).append(outcome.verdict == "passed")
    return found


def read_answers(path: Path) -> list[Answer]:
    """Answers from a JSON-lines file, one object with ``uid`` and ``code`` per line.

    Raises:
        UserError: no such file, or a line that is no answer; the sentence names file and line.
    """
    if not path.is_file():
        raise UserError(f"there are no answers at {path}.")
    answers = []
    for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), start=1):
        try:
            row = json.loads(line)
            answers.append(Answer(str(row["uid"]), str(row["code"])))
        except (ValueError, KeyError, TypeError) as error:  # ValueError: no JSON, or not UTF-8
            raise UserError(f"{path}, line {number} is no answer: {error!r}.") from error
    return answers
