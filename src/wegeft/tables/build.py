"""From a definition, our rows and the published files to the tables of one family.

Every record of the definition's task ends up in exactly one table: the declared section of its scale and
protocol, or one derived for it. Rows that nobody ran stay open and carry the command that fills them. Does
not: render, or write.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wegeft.errors import UserError
from wegeft.tables.cells import (
    cells_of_our_row,
    cells_of_published_row,
    facts_of_our_row,
    headings,
    open_cells,
)
from wegeft.tables.commands import command, command_for_more_seeds
from wegeft.tables.definition import Definition, Expected, Published, Section
from wegeft.tables.notes import about, notes
from wegeft.tables.published import PublishedRow, load_published
from wegeft.tables.rows import OurRow, differing_settings, flatten
from wegeft.tables.table import Block, Row, Table, rank


@dataclass
class _Draft:
    """A section while it is put together: its blocks and the commands of its open cells."""

    blocks: list[Block]
    commands: list[str]


def build_tables(definition: Definition, rows: Iterable[OurRow], paper: Path) -> list[Table]:
    """The declared tables in order, then the derived ones by scale and protocol.

    Args:
        definition: the family.
        rows: all our rows; those of other tasks are left alone.
        paper: folder of published numbers.

    Raises:
        UserError: a published file is broken, or lacks a column or label that the definition names.
    """
    mine = [row for row in rows if row.key.task == definition.task and row.key.model not in definition.left_out]
    declared = list(definition.sections)
    claimed = {_place(section) for section in declared}
    for scale, protocol in sorted({(row.key.scale, row.key.protocol) for row in mine} - claimed):
        if definition.derived_sections:
            declared.append(_derived(definition, scale, protocol))
    return [_build(definition, section, mine, paper) for section in declared]


def _place(section: Section) -> tuple[str, str]:
    return section.scale, section.protocol


def _derived(definition: Definition, scale: str, protocol: str) -> Section:
    """A section for records that no declared one takes."""
    return Section(
        name=f"{definition.name}_{scale}_{protocol}",
        title=definition.title,
        scale=scale,
        protocol=protocol,
        backbones=(),
        rows=(),
    )


def _build(definition: Definition, section: Section, rows: Sequence[OurRow], paper: Path) -> Table:
    chosen = [row for row in rows if (row.key.scale, row.key.protocol) == _place(section)]
    if not definition.derived_sections:
        chosen = [row for row in chosen if row.key.model in section.backbones]
    draft = _Draft([], [])
    others = sorted({row.key.model for row in chosen} - set(section.backbones))
    for model in (*section.backbones, *others):
        _add_our_block(draft, definition, section, model, [row for row in chosen if row.key.model == model])
        for published in section.published:
            _add_published_blocks(draft, definition, section, published, model, paper)
    columns = headings(definition)
    blocks = tuple(rank(block, columns) for block in draft.blocks)
    return Table(
        name=section.name,
        title=section.title,
        about=about(definition, section, chosen),
        headings=columns,
        blocks=blocks,
        notes=notes(definition, section, chosen, blocks),
        commands=tuple(draft.commands),
    )


def _add_our_block(draft: _Draft, definition: Definition, section: Section, model: str, rows: Sequence[OurRow]) -> None:
    """The expected rows in order, each with every recipe that matches it, then whatever else was run."""
    lines: list[Row] = []
    left = list(rows)
    for expected in section.rows:
        found = [row for row in left if _is(row, expected)]
        left = [row for row in left if row not in found]
        lines += _our_lines(definition, expected, found)
        draft.commands += _missing(definition, section, model, expected, found)
    for method in sorted({row.key.method for row in left}):
        expected = Expected(method=method)
        found = [row for row in left if row.key.method == method]
        lines += _our_lines(definition, expected, found)
        draft.commands += _missing(definition, section, model, expected, found)
    if lines:
        header = definition.backbone(model).header
        draft.blocks.append(Block(f"{header} — run by this suite", tuple(lines)))


def _is(row: OurRow, expected: Expected) -> bool:
    settings = flatten(row.config)
    return row.key.method == expected.method and all(
        settings.get(key) == value for key, value in expected.match.items()
    )


def _our_lines(definition: Definition, expected: Expected, rows: Sequence[OurRow]) -> list[Row]:
    name = expected.label or expected.method
    if not rows:
        return [Row(name, open_cells(definition), "open")]
    labels = differing_settings(rows) if len(rows) > 1 else {}
    lines = []
    for row in rows:
        difference = labels.get(row.key, "")
        label = f"{name} ({difference})" if difference else name
        label += " †" if row.dirty else ""
        label += " ‡" if row.partial else ""
        # A mean over the survivors flatters a method that sometimes fails, so it cannot be best.
        cells = cells_of_our_row(definition, row)
        lines.append(Row(label, cells, "ours", facts_of_our_row(row), ranked=not row.broken))
    return lines


def _missing(
    definition: Definition, section: Section, model: str, expected: Expected, rows: Sequence[OurRow]
) -> list[str]:
    """Commands for the seeds that a complete row still lacks; none while the task is only planned."""
    if definition.planned:
        return []
    if not rows:
        names = (expected.method, definition.task, section.scale, model, section.protocol)
        return [command(*names, definition.seeds, (*section.overrides, *expected.overrides))]
    lacking = [(row, [seed for seed in definition.seeds if seed not in row.seeds]) for row in rows]
    return [command_for_more_seeds(row, seeds) for row, seeds in lacking if seeds]


def _add_published_blocks(
    draft: _Draft, definition: Definition, section: Section, published: Published, model: str, paper: Path
) -> None:
    """The published rows of one backbone: the publication's own runs, then what it quotes, set apart."""
    backbone = definition.backbone(model)
    rows = [
        row
        for row in load_published(paper / published.file)
        if row.labels["backbone"] in backbone.published and _matches(row, published)
    ]
    _check_columns(definition, section, published, rows)
    header = published.header.format(backbone=backbone.header)
    parts = (
        ("own", f"{header}: run by its authors"),
        ("quoted", f"{header}: quoted there from other papers"),
        ("unclear", f"{header}: run there or quoted, the source does not say"),
    )
    for kind, title in parts:
        lines = tuple(
            Row(
                _published_label(row),
                cells_of_published_row(definition, row),
                "own" if kind == "own" else "quoted",
                {"published_in": row.labels["paper_version"], "source": row.source},
            )
            for row in rows
            if row.labels["kind"] == kind
        )
        if lines:
            draft.blocks.append(Block(title, lines, quoted=kind != "own"))


def _matches(row: PublishedRow, published: Published) -> bool:
    unknown = sorted(set(published.where) - set(row.labels))
    if unknown:
        raise UserError(
            f"A table asks {published.file} for column {unknown[0]}, which is not one of {', '.join(row.labels)}."
        )
    return all(row.labels[column] in values for column, values in published.where.items())


def _check_columns(
    definition: Definition, section: Section, published: Published, rows: Sequence[PublishedRow]
) -> None:
    """A column that no published row has is a mistake in the definition, not an unknown number."""
    present = {task for row in rows for task in row.values}
    for column in definition.columns:
        if rows and column.published is not None and column.published not in present:
            raise UserError(
                f"{definition.name}.yaml: section {section.name} expects {column.published} in "
                f"{published.file}, which has {', '.join(sorted(present))}."
            )


def _published_label(row: PublishedRow) -> str:
    variant = row.labels["variant"]
    return f"{row.labels['method']} ({variant})" if variant else row.labels["method"]
