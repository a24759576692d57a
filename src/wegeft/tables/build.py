"""From a definition, our rows and the published files to the tables of one family.

Every record of the definition's task ends up in exactly one table: the declared section of its scale and
protocol, or one derived for it. Rows that nobody ran stay open and carry the command that fills them. Does
not: render, or write.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wegeft.errors import UserError
from wegeft.tables.appendix import appendix
from wegeft.tables.cells import (
    cells_of_our_row,
    cells_of_published_row,
    facts_of_our_row,
    headings,
    open_cells,
    score_positions,
)
from wegeft.tables.commands import command, command_for_more_seeds, explanations
from wegeft.tables.comparisons import Contest, below_best, comparison_tables, hold
from wegeft.tables.definition import Definition, Expected, Published, Section
from wegeft.tables.joined import join
from wegeft.tables.notes import about, notes
from wegeft.tables.published import PublishedRow, load_published
from wegeft.tables.reproduction import Check, check_row
from wegeft.tables.rows import OurRow, differing_settings
from wegeft.tables.table import Block, Row, Table, rank


@dataclass(frozen=True)
class Family:
    """What one definition gives: its tables, and how its published cells compare with ours.

    Attributes:
        tables: the result tables, each followed by the comparisons of its rows.
        checks: published cells that we have run.
        not_run: how many published cells wait for a run of ours.
    """

    tables: tuple[Table, ...]
    checks: tuple[Check, ...]
    not_run: int


@dataclass
class _Draft:
    """A section while it is put together."""

    blocks: list[Block] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    shown: list[tuple[str, OurRow]] = field(default_factory=list)
    contests: list[Contest] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    not_run: int = 0


def build_tables(definition: Definition, rows: Iterable[OurRow], paper: Path) -> Family:
    """The declared tables in order, then the derived ones by scale and protocol.

    Args:
        definition: the family.
        rows: all our rows; those of other tasks are left alone.
        paper: folder of published numbers.

    Raises:
        UserError: a published file is broken, or lacks a column or label that the definition names.
    """
    mine = [row for row in rows if _belongs(row, definition)]
    mine = join(mine, definition.counted) if definition.joined else mine
    sections = list(definition.sections)
    if definition.derived_sections:
        claimed = {_place(section) for section in sections}
        left = sorted({(row.key.scale, row.key.protocol) for row in mine} - claimed)
        sections += [_derived(definition, scale, protocol) for scale, protocol in left]
    tables: list[Table] = []
    drafts = []
    for section in sections:
        draft = _Draft()
        tables += _build(draft, definition, section, mine, paper)
        drafts.append(draft)
    checks = tuple(check for draft in drafts for check in draft.checks)
    return Family(tuple(tables), checks, sum(draft.not_run for draft in drafts))


def _belongs(row: OurRow, definition: Definition) -> bool:
    same = row.key.task == definition.task and row.held_out == definition.held_out
    return same and row.key.model not in definition.left_out


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


def _build(draft: _Draft, definition: Definition, section: Section, rows: Sequence[OurRow], paper: Path) -> list[Table]:
    definition = definition.for_section(section)
    chosen = [row for row in rows if (row.key.scale, row.key.protocol) == _place(section)]
    if not definition.derived_sections:
        chosen = [row for row in chosen if row.key.model in section.backbones]
    others = sorted({row.key.model for row in chosen} - set(section.backbones))
    for model in (*section.backbones, *others):
        mine = [row for row in chosen if row.key.model == model]
        _add_our_block(draft, definition, section, model, mine)
        for published in section.published:
            _add_published_blocks(draft, definition, section, published, model, paper)
        _check_against_published(draft, definition, section, model, mine, paper)
    columns = headings(definition)
    blocks = tuple(rank(block, columns) for block in draft.blocks)
    table = Table(
        name=section.name,
        title=section.title,
        about=about(definition, section, chosen),
        headings=columns,
        blocks=blocks,
        notes=(*notes(definition, section, chosen, blocks), *explanations(draft.commands)),
        commands=tuple(draft.commands),
        primary=True,
    )
    return [
        table,
        *comparison_tables(definition, section, draft.contests),
        *appendix(section.name, section.title, draft.shown),
    ]


def _add_our_block(draft: _Draft, definition: Definition, section: Section, model: str, rows: Sequence[OurRow]) -> None:
    """The expected rows in order, each with every recipe that matches it, then whatever else was run."""
    lines: list[Row] = []
    entries: list[tuple[str, OurRow]] = []
    for expected, found in _sorted_out(section, rows):
        own_lines = _our_lines(definition, expected, found)
        lines += own_lines
        draft.shown += [shown for line, row in zip(own_lines, found, strict=False) for shown in _parts(line.label, row)]
        draft.commands += _missing(definition, section, model, expected, found)
        whole = [index for index, row in enumerate(found) if not row.limited]
        if whole:
            fullest = max(whole, key=lambda index: len(found[index].scored))
            entries.append((own_lines[fullest].label, found[fullest]))
    if not lines:
        return
    title = f"{definition.backbone(model).header} — run by this suite"
    contest = hold(definition, title, entries)
    if contest:
        draft.contests.append(contest)
        lines = _starred(definition, lines, below_best(definition, contest))
    draft.blocks.append(Block(title, tuple(lines)))


def _sorted_out(section: Section, rows: Sequence[OurRow]) -> list[tuple[Expected, list[OurRow]]]:
    """Each expected row with the rows of ours that fill it, then the other rows by method."""
    left = list(rows)
    sorted_out = []
    for expected in section.rows:
        found = [row for row in left if _is(row, expected)]
        left = [row for row in left if not _is(row, expected)]
        sorted_out.append((expected, found))
    for method in sorted({row.key.method for row in left}):
        sorted_out.append((Expected(method=method), [row for row in left if row.key.method == method]))
    return sorted_out


def _starred(definition: Definition, lines: Sequence[Row], marked: set[tuple[str, str | None]]) -> list[Row]:
    """``lines`` with a star on every cell whose row label and column are in ``marked``."""
    positions = score_positions(definition)
    columns: dict[str, set[int]] = {}
    for label, column in marked:
        columns.setdefault(label, set()).add(positions[column])
    return [_star(line, columns[line.label]) if line.label in columns else line for line in lines]


def _star(line: Row, columns: set[int]) -> Row:
    cells = (replace(cell, starred=True) if index in columns else cell for index, cell in enumerate(line.cells))
    return replace(line, cells=tuple(cells))


def _check_against_published(
    draft: _Draft, definition: Definition, section: Section, model: str, rows: Sequence[OurRow], paper: Path
) -> None:
    """Set each expected row that has a published counterpart against it; the published ones are its authors' own."""
    backbone = definition.backbone(model)
    columns = [column.published for column in definition.columns] + [definition.mean_published]
    for expected, found in _sorted_out(section, rows):
        for published in section.published if expected.published else ():
            wanted = {**expected.published, "kind": "own"}
            for row in load_published(paper / published.file):
                named = row.labels["backbone"] in backbone.published and _matches(row, published)
                if not named or not wanted.items() <= row.labels.items():
                    continue
                labels = (line.label for line in _our_lines(definition, expected, found))
                whole = [(label, ours) for label, ours in zip(labels, found, strict=False) if not ours.limited]
                if not whole:
                    draft.not_run += sum(column in row.values for column in columns)
                for label, ours in whole:
                    draft.checks += check_row(definition, section.title, backbone.header, label, ours, row)


def _is(row: OurRow, expected: Expected) -> bool:
    return row.key.method == expected.method and all(
        row.settings.get(key) == value for key, value in expected.match.items()
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
        cells = cells_of_our_row(definition, row)
        lines.append(Row(label, cells, "ours", facts_of_our_row(row), ranked=row.rankable))
    return lines


def _missing(
    definition: Definition, section: Section, model: str, expected: Expected, rows: Sequence[OurRow]
) -> list[str]:
    """Commands for the seeds that a complete row still lacks; none where it has no number or the task is planned.

    An adapter that was given is a file for one seed, and no command makes the one for another.
    """
    if definition.planned or not definition.seeds:
        return []
    # A trial on a few questions fills no cell: the whole run is still to be made, and the trial needs no more seeds.
    whole = [row for row in rows if not row.limited]
    if not whole:
        names = (expected.method, ",".join(definition.choices), section.scale, model, section.protocol)
        return [command(*names, definition.seeds, (*section.overrides, *expected.overrides))]
    trained = [row for row in whole if not row.given]
    if definition.joined:
        return [line for row in trained for line in _missing_subsets(definition, section, model, expected, row)]
    lacking = [(row, [seed for seed in definition.seeds if seed not in row.seeds]) for row in trained]
    return [command_for_more_seeds(row, seeds) for row, seeds in lacking if seeds]


def _parts(label: str, row: OurRow) -> list[tuple[str, OurRow]]:
    """What the appendix lists of a row: a joined one has settings for each subset."""
    if not row.parts:
        return [(label, row)]
    return [(f"{label}, {' '.join(sorted(part.runs[0]['data']['test_examples']))}", part) for part in row.parts]


def _missing_subsets(
    definition: Definition, section: Section, model: str, expected: Expected, row: OurRow
) -> list[str]:
    """Commands for what a joined row lacks, by subset."""
    lines = []
    for choice, subset in zip(definition.choices, definition.counted, strict=True):
        seeds = [seed for seed in definition.seeds if seed not in row.seeds_of(subset)]
        if seeds:
            names = (expected.method, choice, section.scale, model, section.protocol)
            lines.append(command(*names, seeds, (*section.overrides, *expected.overrides)))
    return lines


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
