"""Questions of several turns, as MT-Bench has them (Zheng et al., NeurIPS 2023, arXiv 2306.05685), and their files.

A question of the test set carries all of its turns in its gold answer, as JSON, so that kept answers can be judged on a
machine without the file.

Does not: answer or judge.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wegeft.errors import UserError
from wegeft.tasks.generated import GeneratedConfig
from wegeft.tasks.instruction_mini import MiniInstructions
from wegeft.tasks.sources import FilteredFiles, Row, Split, checked_row, read_objects

REFUSALS = ("sorry", "as an ai")
"""Official code: an answer with one of these, in any case, is not trained on."""
MINI = "mini"


@dataclass(frozen=True)
class Question:
    """One conversation from the asking side.

    Attributes:
        question_id: its number in the benchmark.
        category: kind of question, which decides the temperature of the answers.
        turns: what is asked, one after the other.
        reference: right answers by turn, where there are any.
    """

    question_id: int
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] = ()


def question_of(gold: str) -> Question:
    """The question behind a gold answer."""
    fields = json.loads(gold)
    return Question(fields["question_id"], fields["category"], tuple(fields["turns"]), tuple(fields["reference"]))


class WizardFiles(FilteredFiles):
    """WizardLM's evolved instructions (``instruction``, ``output``) for training; FastChat's questions for testing."""

    def qualifying(self, subset: str, split: Split) -> Sequence[tuple[int, Row]]:
        """See :meth:`FilteredFiles.qualifying`."""
        path = self.path(subset, split)
        return wizard_rows(path) if split == "train" else question_rows(path)


@cache
def wizard_rows(path: Path) -> Sequence[tuple[int, Row]]:
    """Training rows but refusals, with their numbers in the file.

    Raises:
        UserError: a broken file or row, or nothing but refusals.
    """
    found = []
    for number, row in enumerate(read_objects(path)):
        filled = {"instruction": row.get("instruction"), "input": "", "output": row.get("output")}
        whole = checked_row(path, number, filled | {"answer": row.get("output")})
        if not any(word in whole["output"].lower() for word in REFUSALS):
            found.append((number, whole))
    if not found:
        raise UserError(f"data file {path} holds nothing but refusals.")
    return found


@cache
def question_rows(path: Path) -> Sequence[tuple[int, Row]]:
    """Questions of FastChat's file (``question_id``, ``category``, ``turns``, perhaps ``reference``), numbered from 0.

    Raises:
        UserError: a broken file or row.
    """
    return [(number, _question_row(path, number, row)) for number, row in enumerate(read_objects(path))]


def _question_row(path: Path, number: int, row: Mapping[str, Any]) -> Row:
    name, category, turns = row.get("question_id"), row.get("category"), row.get("turns")
    reference = row.get("reference") or []
    if not isinstance(name, int) or not isinstance(category, str):
        raise UserError(f"data file {path}, row {number} has no number `question_id` or no text `category`.")
    if not isinstance(turns, list) or not _texts(turns) or len(turns) != 2:
        raise UserError(f"data file {path}, row {number}: its `turns` are not two texts.")
    if not _texts(reference):
        raise UserError(f"data file {path}, row {number}: its `reference` is not a list of texts.")
    return question_row(Question(name, category, tuple(turns), tuple(reference)))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def question_row(question: Question) -> Row:
    """``question`` as a row."""
    return {"instruction": question.turns[0], "input": "", "output": "", "answer": json.dumps(asdict(question))}


class MiniConversations(MiniInstructions):
    """Pairs of the mini instructions, one turn each; trained on single ones."""

    Config = GeneratedConfig

    def all_rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`GeneratedSource.all_rows`."""
        rows = super().all_rows(subset, split)
        if split == "train":
            return rows
        asked = [row["instruction"] for row in rows]
        pairs = zip(asked[::2], asked[1::2], strict=True)
        return [question_row(Question(number, MINI, pair)) for number, pair in enumerate(pairs)]
