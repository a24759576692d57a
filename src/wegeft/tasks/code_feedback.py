"""CodeFeedback-Filtered-Instruction (Zheng et al., arXiv 2402.14658) as rows: questions whose answers hold code.

The file of its authors has one JSON object a line, with ``query`` and ``answer``. As in the official code of WeGeFT, an
answer without a code block is not used, and every other is cut after its first.

Does not: look at lengths (``task.accept`` does, with the backbone's tokenizer).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from wegeft.errors import UserError
from wegeft.tasks.sources import Row, checked_row, read_objects

FENCE = "```"


@cache
def feedback_rows(path: Path) -> Sequence[tuple[int, Row]]:
    """The rows with code, with their numbers in the file.

    Raises:
        UserError: a broken file or row, or no row with code.
    """
    found = [
        (number, _row(path, number, row))
        for number, row in enumerate(read_objects(path))
        if FENCE in _text(path, number, row, "answer")
    ]
    if not found:
        raise UserError(f"data file {path} holds no answer with a code block ({FENCE}).")
    return found


def first_block(answer: str) -> str:
    """``answer`` up to the end of its first code block; one that is never closed is closed at the end."""
    before, _, rest = answer.partition(FENCE)
    return before + FENCE + rest.partition(FENCE)[0] + FENCE


def _row(path: Path, number: int, row: Mapping[str, Any]) -> Row:
    output = first_block(row["answer"])
    fields = {"instruction": _text(path, number, row, "query"), "input": "", "output": output, "answer": output}
    return checked_row(path, number, fields)


def _text(path: Path, number: int, row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise UserError(f"data file {path}, row {number} has no text field `{field}`.")
    return value
