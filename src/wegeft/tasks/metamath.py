"""MetaMathQA and the sets that it is tested on, GSM8K and MATH, as rows; each file in the form its authors publish.

MetaMathQA (Yu et al., ICLR 2024) has rewritten questions of the training sets of GSM8K and MATH. The official code of
WeGeFT trains on the former alone: subset ``gsm``, solutions ending in ``#### ANSWER``. Subset ``all`` is every row as
published, ending in ``The answer is: ANSWER``.

Does not: look at lengths (``task.accept`` does, with the backbone's tokenizer).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from wegeft.errors import UserError
from wegeft.evaluation.math_extractors import ANNOUNCEMENT, Boxed
from wegeft.tasks.sources import LLMAdaptersConfig, LLMAdaptersFiles, Row, Split, checked_row, read_objects

GSM, ALL = "gsm", "all"


class MetaMathConfig(LLMAdaptersConfig):
    """Where the files are.

    Attributes:
        test_files: path below ``root`` by test set.
    """

    test_files: dict[str, str]


class MetaMathFiles(LLMAdaptersFiles):
    """Rows of MetaMathQA for training, of GSM8K and MATH for testing."""

    Config: ClassVar[type[MetaMathConfig]] = MetaMathConfig
    config: MetaMathConfig

    def rows(self, subset: str, split: Split) -> Sequence[Row]:
        """See :meth:`Source.rows`."""
        found = [row for _, row in self._all_rows(subset, split)]
        self._check_count(subset, split, len(found))
        return [found[index] for index in self._drawn(split, len(found))]

    def row_numbers(self, subset: str, split: Split) -> Sequence[int]:
        """See :meth:`Source.row_numbers`."""
        numbers = [number for number, _ in self._all_rows(subset, split)]
        return [numbers[index] for index in self._drawn(split, len(numbers))]

    def path(self, subset: str, split: Split) -> Path:
        """File of one subset and split."""
        if split == "test" and subset not in self.config.test_files:
            raise UserError(
                f"task.{split}_subsets: there is no test set {subset}; choices: {', '.join(self.config.test_files)}."
            )
        if split == "train" and subset not in (GSM, ALL):
            raise UserError(f"task.{split}_subsets: MetaMathQA has no subset {subset}; choices: {GSM}, {ALL}.")
        if self.config.root is None:
            return super().path(subset, split)  # which says so
        return Path(self.config.root) / (self.config.train_file if split == "train" else self.config.test_files[subset])

    def _all_rows(self, subset: str, split: Split) -> Sequence[tuple[int, Row]]:
        path = self.path(subset, split)
        return metamath_rows(path, subset == GSM) if split == "train" else question_rows(path)


@cache
def metamath_rows(path: Path, gsm_only: bool) -> list[tuple[int, Row]]:
    """Rows of MetaMathQA with their numbers in the file.

    Args:
        path: the published JSON file.
        gsm_only: rows made from GSM8K alone, their solutions cut before ``The answer is:``, as in the official code.

    Raises:
        UserError: a broken file or row.
    """
    found = []
    for number, row in enumerate(read_objects(path)):
        if gsm_only and "GSM" not in _text(path, number, row, "type"):
            continue
        solution, announced, answer = _text(path, number, row, "response").rpartition(ANNOUNCEMENT)
        if not announced:
            raise UserError(f"data file {path}, row {number}: its response does not say `{ANNOUNCEMENT}`.")
        output = solution.removesuffix("\n") if gsm_only else row["response"]
        found.append((number, _row(path, number, _text(path, number, row, "query"), output, answer)))
    return found


@cache
def question_rows(path: Path) -> list[tuple[int, Row]]:
    """Rows of a test set: GSM8K has question and answer; MATH problem, solution and, in MATH-500, answer.

    Raises:
        UserError: a broken file or row, or one that states no answer.
    """
    return [(number, _question(path, number, row)) for number, row in enumerate(read_objects(path))]


def _question(path: Path, number: int, row: Mapping[str, Any]) -> Row:
    if "question" in row:
        solution = _text(path, number, row, "answer")
        return _row(path, number, _text(path, number, row, "question"), solution, solution.rpartition("####")[2])
    solution = _text(path, number, row, "solution")
    answer = row.get("answer") or Boxed().extract(solution)
    return _row(path, number, _text(path, number, row, "problem"), solution, answer or "")


def _row(path: Path, number: int, question: str, solution: str, answer: Any) -> Row:
    gold = answer.strip() if isinstance(answer, str) else answer
    return checked_row(path, number, {"instruction": question, "input": "", "output": solution, "answer": gold})


def _text(path: Path, number: int, row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise UserError(f"data file {path}, row {number} has no text field `{field}`.")
    return value
