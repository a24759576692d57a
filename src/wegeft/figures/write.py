"""Which figures there are: chosen from tables and rows, drawn, and written to a folder.

A figure that would show fewer than two things is not drawn. Figures of an earlier rendering that are not drawn now are
removed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wegeft.figures import draw
from wegeft.figures.points import backbone_of, points
from wegeft.figures.style import FORMS, drawing, save
from wegeft.records.identity import digest
from wegeft.tables.definition import Definition
from wegeft.tables.efficiency import RATIOS, fullest
from wegeft.tables.rows import NOT_IN_A_ROW, OurRow, recipe_of
from wegeft.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_POINTS = 3
"""Two points are a comparison, which the table makes better."""
MOST_BARS = 12
"""A figure with more rows than this is not read; the table is."""


def render_figures(
    tables: Iterable[Table],
    rows: Sequence[OurRow],
    definitions: Iterable[Definition],
    out: Path,
    forms: Sequence[str] = FORMS,
) -> list[str]:
    """Draw every figure into ``out``, once in each of ``forms``; returns their stems in order."""
    out.mkdir(parents=True, exist_ok=True)
    names = {section.name for definition in definitions for section in definition.sections}
    stems = []
    with drawing():
        for stem, figure in _drawn(tables, rows, names):
            save(figure, out / stem, forms)
            stems.append(stem)
    for path in sorted([*out.glob("*.svg"), *out.glob("*.png")]):
        if path.stem not in stems:
            path.unlink()
    return stems


Drawn = Iterator[tuple[str, "Figure"]]
"""Figures as they are drawn, each with the stem of its file."""


def _drawn(tables: Iterable[Table], rows: Sequence[OurRow], names: set[str]) -> Drawn:
    for table in tables:
        if table.name in names:
            yield from _of_results(table)
        if table.name.startswith("efficiency"):
            yield from _of_ratios(table)
    yield from _of_rows(rows)


def _of_results(table: Table) -> Drawn:
    score = "mean score"
    for number, (backbone, found) in enumerate(points(table).items()):
        if len(found) >= FEWEST_POINTS:
            title = f"{table.title}\n{backbone}"
            yield f"{table.name}_parameters_{number}", draw.accuracy_against_parameters(title, found, score)
    for number, block in enumerate(table.blocks):
        ours = [row for row in block.rows if row.kind == "ours"]
        if 1 < len(ours) <= MOST_BARS:
            title = f"{table.title}\n{backbone_of(block)}, standard deviation over seeds"
            yield f"{table.name}_bars_{number}", draw.bars(title, block, table.headings, "score")


def _of_ratios(table: Table) -> Drawn:
    names = [heading.text for heading in table.headings][: len(RATIOS)]
    for number, block in enumerate(table.blocks):
        values = {
            row.label: {name: float(cell.text) for name, cell in zip(names, row.cells, strict=False) if cell.text}
            for row in block.rows
        }
        values = {label: found for label, found in values.items() if found}
        if len(values) > 1:
            yield f"{table.name}_{number}", draw.ratios(f"{table.title}\n{block.title}", values, "LoRA")


def _of_rows(rows: Sequence[OurRow]) -> Drawn:
    for place in sorted({_place(row) for row in rows}):
        mine = [row for row in rows if _place(row) == place]
        title = ", ".join(place)
        stem = "_".join(_safe(name) for name in place)
        rates = _rates(mine)
        if rates:
            heading = f"Learning-rate sensitivity: {title}"
            yield f"{stem}_rates", draw.lines(heading, rates, "learning rate", "mean score", log=True)
        curves = _curves(mine)
        if curves:
            heading = f"Training loss, a line per seed: {title}"
            yield f"{stem}_loss", draw.lines(heading, curves, "step", "loss", log=False)


def _place(row: OurRow) -> tuple[str, str, str, str]:
    """What runs must share to be drawn together; some tasks are one of several sets of their name."""
    subset = row.config["task"].get("subset")
    task = f"{row.key.task}/{subset}" if subset else row.key.task
    return task, row.key.scale, row.key.protocol, row.key.model


def _rates(rows: Sequence[OurRow]) -> dict[str, list[list[tuple[float, float]]]]:
    """By method, mean score over learning rate: a line per recipe that was run with at least two and differs in it."""
    found: defaultdict[tuple[str, str], dict[float, float]] = defaultdict(dict)
    for row in rows:
        rate = row.config.get("training", {}).get("learning_rate")
        if rate and row.mean and not row.limited:
            recipe = recipe_of(row.config, (*NOT_IN_A_ROW, "training.learning_rate"))
            others = digest([row.key.data, row.key.backbone, recipe])
            found[row.key.method, others][rate] = row.mean.mean
    drawn: dict[str, list[list[tuple[float, float]]]] = {}
    for (method, _), scores in sorted(found.items()):
        if len(scores) > 1:
            drawn.setdefault(method, []).append(sorted(scores.items()))
    return drawn


def _curves(rows: Sequence[OurRow]) -> dict[str, list[list[tuple[float, float]]]]:
    """By method, the loss curve of every seed of its fullest row."""
    return {
        method: curves
        for method, row in sorted(fullest(rows).items())
        if (
            curves := [
                [(step, loss) for step, loss in run["training"]["loss_curve"]]
                for run in row.runs
                if run["training"] and run["training"]["loss_curve"]
            ]
        )
    }


def _safe(name: str) -> str:
    """A name from a config as part of a file name."""
    return "".join(character if character.isalnum() or character in "-_" else "-" for character in name)
