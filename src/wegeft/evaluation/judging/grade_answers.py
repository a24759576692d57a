"""Every turn of a run's conversations graded from 1 to 10 by a judge, each grade kept as soon as it is there.

Does not: know how a judge is reached (``endpoint``), or the files' layout (``fastchat``).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from wegeft.errors import UserError
from wegeft.evaluation.judging.config import JudgeConfig
from wegeft.evaluation.judging.endpoint import Endpoint
from wegeft.evaluation.judging.fastchat import Grade, answers_digest, read_grades, turns_of, write_grades
from wegeft.evaluation.judging.judged import Judged, judge_and_days
from wegeft.evaluation.result import Score, mean_over_questions
from wegeft.evaluation.samples import Sample
from wegeft.progress import progress
from wegeft.tasks.questions import question_of

HIGHEST = 10
PROMPT_VERSION = 1
"""Raised when the judge is asked otherwise; a part of the judge's name."""

PROMPT = """Grade the last answer of the assistant in this conversation from 1 (useless) to 10 (could not be better): \
is it correct, helpful, relevant and complete, does it go into what was asked?

{conversation}
Say in a sentence why, and end with the grade in double brackets, like [[5]]."""


def grade_answers(samples: Sequence[Sample], kept: Path, model_id: str, config: JudgeConfig) -> Judged:
    """Mean grades as a share of 10: of the first turns, and of the later ones beside them.

    Args:
        samples: the answers of a run.
        kept: file of the grades so far, of any judge; what is missing is asked for and added.
        model_id: what the run is called in files of grades.
        config: who judges.

    Raises:
        UserError: grades are missing and nobody is there to give them, or several judges gave them.
    """
    if config.annotator is not None:
        raise UserError(f"judge.annotator={config.annotator} compares two answers; these are graded one by one.")
    asked = {
        (question_id, turn): turns[:turn]
        for question_id, turns in turns_of(samples).items()
        for turn in range(1, len(turns) + 1)
    }
    earlier = read_grades(kept, model_id) if kept.is_file() else []
    taken = _taken(earlier, asked, model_id, config)
    known = {(grade.question_id, grade.turn): grade for grade in taken}
    every = {_key(grade): grade for grade in (*earlier, *taken)}
    missing = [key for key in asked if key not in known]
    endpoint = Endpoint(config) if missing else None
    with progress(len(missing), "judge") as advance:
        for key in missing:
            assert endpoint is not None
            grade = _grade(endpoint, *key, asked[key])
            known[key] = every[_key(grade)] = grade
            write_grades(kept, list(every.values()), model_id)
            advance()
    write_grades(kept, list(every.values()), model_id)
    scores = {score.subset: score for score in _scores(known, asked)}
    return Judged(scores, judge_and_days([*taken, *(known[key] for key in asked)]))


def _key(grade: Grade) -> tuple[int, int, str, str]:
    return grade.question_id, grade.turn, grade.answers, grade.judge


def _taken(
    earlier: Sequence[Grade], asked: Mapping[tuple[int, int], Sequence[Sample]], model_id: str, config: JudgeConfig
) -> list[Grade]:
    """Grades given elsewhere, else those of ``earlier`` by the judge of ``config``, or by any if it names none.

    They are about the answers that are ``asked`` about; those given elsewhere are taken for such.
    """
    answers = {key: answers_digest(turns) for key, turns in asked.items()}
    if config.annotations is not None:
        found = read_grades(Path(config.annotations), model_id)
        here = [grade for grade in found if (grade.question_id, grade.turn) in answers]
        return [replace(grade, answers=answers[grade.question_id, grade.turn]) for grade in here]
    judge = None if config.model is None else _judge(config.model)
    about = [grade for grade in earlier if answers.get((grade.question_id, grade.turn)) == grade.answers]
    return [grade for grade in about if judge in (None, grade.judge)]


def _judge(model: str) -> str:
    return f"{model} (grading prompt {PROMPT_VERSION})"


def _grade(endpoint: Endpoint, question_id: int, turn: int, answers: Sequence[Sample]) -> Grade:
    reply = endpoint.ask(PROMPT.format(conversation=_conversation(answers)))
    found = [int(grade) for grade in re.findall(r"\[\[(\d+)\]\]", reply)]
    score = found[-1] if found and 1 <= found[-1] <= HIGHEST else None
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    return Grade(question_id, turn, score, _judge(endpoint.model), day, reply, answers_digest(answers))


def _conversation(answers: Sequence[Sample]) -> str:
    """All turns up to the last of ``answers``, with the right answer to that one where the benchmark has it."""
    question = question_of(answers[-1].gold)
    turns = zip(question.turns, answers, strict=False)
    lines = [f"[Person]\n{turn}\n\n[Assistant]\n{answer.text}\n" for turn, answer in turns]
    if len(question.reference) >= len(answers):
        lines.append(f"[A right answer to the last turn]\n{question.reference[len(answers) - 1]}\n")
    return "\n".join(lines)


def _scores(known: dict[tuple[int, int], Grade], asked: dict[tuple[int, int], list[Sample]]) -> Iterator[Score]:
    """A score for every turn, under the name that its answers have; what the judge did not grade is left out."""
    names = {answers[-1].subset: turn for (_, turn), answers in asked.items()}
    for name, turn in names.items():
        found = [known[key].score for key in asked if key[1] == turn]
        grades = [score / HIGHEST for score in found if score is not None]
        if not grades:
            raise UserError(f"the judge gave no answer of {name} a grade; remove its judgements and ask another.")
        yield mean_over_questions(name, "grade", grades, None)
