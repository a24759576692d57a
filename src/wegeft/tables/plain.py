"""A table as CSV and as JSON: the printed columns, then the facts behind each row."""

import csv
import io
import json
from typing import Any

from wegeft.tables.cells import ROW_FACTS
from wegeft.tables.table import Row, Table


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
    """The whole table with its notes and commands."""
    content = {
        "name": table.name,
        "title": table.title,
        "about": table.about,
        "columns": [heading.text for heading in table.headings],
        "blocks": [{"title": block.title, "rows": [_row(table, row) for row in block.rows]} for block in table.blocks],
        "notes": table.notes,
        "commands": table.commands,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _row(table: Table, row: Row) -> dict[str, Any]:
    cells = {
        heading.text: {"text": cell.text, "rank": cell.rank, "starred": cell.starred}
        for heading, cell in zip(table.headings, row.cells, strict=True)
    }
    return {"label": row.label, "kind": row.kind, "cells": cells, "facts": row.facts}
