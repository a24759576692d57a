"""A table before it is rendered: columns, blocks of rows, notes. Knows no records and no file format."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Rank = Literal["", "best", "second"]
# ours: run by this suite; own: by the authors of the publication; quoted: taken over by it from another one.
Kind = Literal["ours", "open", "own", "quoted"]


@dataclass(frozen=True)
class Cell:
    """What one cell says.

    Attributes:
        text: as printed, without marks; empty means that nothing is known.
        value: what ranking compares, already rounded as printed; None takes no part.
        std: deviation that ``text`` prints, if it does.
        rank: place among the ranked cells of its column.
        starred: significantly below the best of its column (see ``significance``).
    """

    text: str
    value: float | None = None
    rank: Rank = ""
    starred: bool = False
    std: float | None = None


OPEN = Cell("")


@dataclass(frozen=True)
class Row:
    """One line; ``facts`` are further columns of the CSV and JSON forms."""

    label: str
    cells: tuple[Cell, ...]
    kind: Kind
    facts: dict[str, Any] = field(default_factory=dict)
    ranked: bool = True


@dataclass(frozen=True)
class Block:
    """Rows under one heading; best and second best are found within a block."""

    title: str
    rows: tuple[Row, ...]
    quoted: bool = False


@dataclass(frozen=True)
class Heading:
    """A column. ``ranked`` columns carry best and second best; ``numeric`` ones are set flush right."""

    text: str
    ranked: bool = False
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """One table file.

    Attributes:
        name: stem of the files.
        title: caption.
        about: facts that hold for the whole table, printed above it.
        headings: columns after the row label.
        notes: sentences below it.
        commands: commands, one a line.
        commands_title: what they do.
        label: heading of the column of row labels.
        primary: whether it shows results; others go into their detail.
    """

    name: str
    title: str
    about: tuple[str, ...]
    headings: tuple[Heading, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]
    commands: tuple[str, ...]
    commands_title: str = "Commands that fill the open cells"
    label: str = "method"
    primary: bool = False

    @property
    def has_runs(self) -> bool:
        """Whether any row was run by this suite."""
        return any(row.kind == "ours" for block in self.blocks for row in block.rows)


def rank(block: Block, headings: Sequence[Heading]) -> Block:
    """``block`` with best and second best of each ranked column marked; equal numbers share a mark."""
    rows = list(block.rows)
    for column, heading in enumerate(headings):
        if heading.ranked:
            rows = _rank_column(rows, column)
    return replace(block, rows=tuple(rows))


def _rank_column(rows: list[Row], column: int) -> list[Row]:
    best, second = _two_largest(row.cells[column].value for row in rows if row.ranked)
    return [_mark(row, column, best, second) for row in rows]


def _two_largest(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """The two largest different values; nothing is best among fewer than two values."""
    numbers = [value for value in values if value is not None]
    distinct = sorted(set(numbers), reverse=True)
    if len(numbers) < 2:
        return None, None
    return distinct[0], distinct[1] if len(distinct) > 1 else None


def _mark(row: Row, column: int, best: float | None, second: float | None) -> Row:
    cell = row.cells[column]
    if not row.ranked or cell.value is None or cell.value not in (best, second):
        return row
    marked = replace(cell, rank="best" if cell.value == best else "second")
    return replace(row, cells=(*row.cells[:column], marked, *row.cells[column + 1 :]))
