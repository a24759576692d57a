"""Reading published numbers: one number a line, with its source (layout: the README beside the files).

Does not: change, round or fill in anything; a number stays the string that was printed.
"""

import csv
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from wegeft.errors import UserError

HEADER = (
    "row",
    "paper_version",
    "table",
    "backbone",
    "method",
    "variant",
    "params_pct",
    "params_count",
    "kind",
    "task",
    "value",
    "std",
    "note",
    "source",
)
KINDS = ("own", "quoted", "unclear")


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        labels: the columns that identify the row, by name (``paper_version`` … ``kind``).
        values: printed number per column of the source table.
        stds: printed deviation per column, where one was printed.
        source: where the row was read.
    """

    labels: dict[str, str]
    source: str
    values: dict[str, str] = field(default_factory=dict)
    stds: dict[str, str] = field(default_factory=dict)


@cache
def load_published(path: Path) -> tuple[PublishedRow, ...]:
    """The rows of ``path`` in file order.

    Raises:
        UserError: no such file, a moved, missing or additional column, a value that is not a number, a cell
        given
            twice, or rows of one number that disagree about their labels. The sentence names file and line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except OSError as error:
        raise UserError(f"The published file {path.name} cannot be read ({error.strerror}).") from error
    if not lines or tuple(lines[0]) != HEADER:
        raise UserError(f"{path.name}: the columns must be {', '.join(HEADER)} in this order.")
    rows: dict[str, PublishedRow] = {}
    for number, cells in enumerate(lines[1:], start=2):
        _add_line(rows, cells, f"{path.name} line {number}")
    return tuple(rows.values())


def _add_line(rows: dict[str, PublishedRow], cells: list[str], place: str) -> None:
    if len(cells) != len(HEADER):
        raise UserError(f"{place}: {len(cells)} columns instead of {len(HEADER)}.")
    line = dict(zip(HEADER, cells, strict=True))
    if line["kind"] not in KINDS:
        raise UserError(f"{place}: kind is {line['kind']!r}, not one of {', '.join(KINDS)}.")
    labels = {name: line[name] for name in HEADER[1:9]}
    row = rows.setdefault(line["row"], PublishedRow(labels, line["source"]))
    if row.labels != labels:
        raise UserError(f"{place}: row {line['row']} has other labels on an earlier line.")
    if line["task"] in row.values:
        raise UserError(f"{place}: row {line['row']} gives {line['task']} twice.")
    row.values[line["task"]] = _number(line["value"], place)
    if line["std"]:
        row.stds[line["task"]] = _number(line["std"], place)


def _number(text: str, place: str) -> str:
    try:
        float(text)
    except ValueError as error:
        raise UserError(f"{place}: {text!r} is not a number.") from error
    return text
