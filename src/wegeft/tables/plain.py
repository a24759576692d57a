"""A table as CSV and as JSON: the printed columns, then the facts behind each row."""

import csv
import io
import json
from typing import Any

from wegeft.tables.cells import ROW_FACTS
from wegeft.tables.table import Block, Row, Table


def render_csv(table: Table) -> str:
    """One line a row; open cells are empty, marks are left out."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["block", "kind", "row", *(heading.text for heading in table.headings), *ROW_FACTS])
    for block in table.blocks:
        for row in block.rows:
            facts = [row.facts.get(name, "") for name in ROW_FACTS]
            writer.writerow([block.title, row.kind, row.label, *(cell.text for cell in row.cells), *facts])
    return stream.getvalue()


def render_json(table: Table) -> str:
    """The whole table with its notes and commands; one row a line."""
    head = {
        "name": table.name,
        "title": table.title,
        "about": table.about,
        "columns": [heading.text for heading in table.headings],
        "notes": table.notes,
        "commands": table.commands,
    }
    blocks = ",\n".join(_block(table, block) for block in table.blocks)
    lines = [f"{_dumps(name)}: {_dumps(value)}" for name, value in sorted(head.items())]
    return "{\n" + ",\n".join([f'"blocks": [\n{blocks}\n]', *lines]) + "\n}\n"


def _block(table: Table, block: Block) -> str:
    rows = ",\n".join(_dumps(_row(table, row)) for row in block.rows)
    return f'{{"rows": [\n{rows}\n], "title": {_dumps(block.title)}}}'


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _row(table: Table, row: Row) -> dict[str, Any]:
    cells = {
        heading.text: {"text": cell.text, "rank": cell.rank, "starred": cell.starred}
        for heading, cell in zip(table.headings, row.cells, strict=True)
    }
    return {"label": row.label, "kind": row.kind, "cells": cells, "facts": row.facts}
