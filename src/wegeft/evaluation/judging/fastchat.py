"""Answers and grades in the file formats of FastChat's MT-Bench scripts.

Answers can so be judged by FastChat itself, and its judgements (of ``gen_judgment.py --mode single``) read here.

Does not: ask a judge.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wegeft.errors import UserError
from wegeft.evaluation.samples import Sample
from wegeft.files import write_atomically
from wegeft.tasks.questions import question_of
from wegeft.tasks.sources import read_objects

NO_GRADE = -1
"""What stands for a grade where the judge's reply held none."""


@dataclass(frozen=True)
class Grade:
    """One raw judgement, kept so that the mean can be computed again.

    Attributes:
        question_id: what was asked.
        turn: which answer, from 1.
        score: 1 to 10; None if the judge gave none.
        judge: which judge, with its version.
        judged: UTC date; unknown in FastChat's own files.
        reply: what the judge wrote.
        answers: digest of the answers up to this turn, see :func:`answers_digest`; unknown in FastChat's own files.
    """

    question_id: int
    turn: int
    score: float | None
    judge: str
    judged: str
    reply: str
    answers: str = ""


def answers_digest(answers: Sequence[Sample]) -> str:
    """What tells the answers of a conversation from other answers to the same questions."""
    return hashlib.sha256(json.dumps([answer.text for answer in answers]).encode()).hexdigest()[:16]


def turns_of(samples: Sequence[Sample]) -> dict[int, list[Sample]]:
    """The answers of each question, in the order of its turns; questions in the order of the file."""
    found: dict[int, list[Sample]] = {}
    for sample in samples:
        found.setdefault(question_of(sample.gold).question_id, []).append(sample)
    return found


def write_answers(path: Path, samples: Sequence[Sample], model_id: str) -> None:
    """FastChat's ``model_answer/MODEL.jsonl``."""
    rows = [
        {
            "question_id": question_id,
            "answer_id": hashlib.sha256(f"{model_id}/{question_id}".encode()).hexdigest()[:22],
            "model_id": model_id,
            "choices": [{"index": 0, "turns": [sample.text for sample in turns]}],
            "tstamp": time.time(),
        }
        for question_id, turns in turns_of(samples).items()
    ]
    _write(path, rows)


def write_grades(path: Path, grades: Sequence[Grade], model_id: str) -> None:
    """Raw grades as :func:`read_grades` reads them."""
    rows = [
        {
            "question_id": grade.question_id,
            "model": model_id,
            "judge": [grade.judge],
            "judgment": grade.reply,
            "score": NO_GRADE if grade.score is None else grade.score,
            "turn": grade.turn,
            "judged": grade.judged,
            "answers": grade.answers,
        }
        for grade in grades
    ]
    _write(path, rows)


def read_grades(path: Path, model_id: str) -> list[Grade]:
    """The grades of one model in FastChat's ``model_judgment/JUDGE_single.jsonl``.

    Raises:
        UserError: no such file, or a line that is no grade; the sentence names file and row.
    """
    rows = [(number, row) for number, row in enumerate(read_objects(path)) if row.get("model") == model_id]
    return [_grade(path, number, row) for number, row in rows]


def _grade(path: Path, number: int, row: Mapping[str, Any]) -> Grade:
    try:
        score = None if row["score"] == NO_GRADE else float(row["score"])
        judge = " ".join(row["judge"])
        judged, reply = row.get("judged", "unknown"), row.get("judgment", "")
        answers = row.get("answers", "")
        return Grade(int(row["question_id"]), int(row["turn"]), score, judge, judged, reply, answers)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"judgements {path}, row {number} is none: {error!r}.") from error


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
