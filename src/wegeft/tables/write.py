"""From folders to folders: reads records, definitions and published files, writes every table."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wegeft.errors import UserError
from wegeft.files import write_atomically
from wegeft.records.store import Problem, read_records
from wegeft.tables import latex, markdown, plain
from wegeft.tables.build import build_tables
from wegeft.tables.definition import DEFINITIONS, Definition, known_tasks, load_definitions, settle_task
from wegeft.tables.efficiency import efficiency_tables, load_efficiency
from wegeft.tables.estimates import estimates_table
from wegeft.tables.reproduction import Check, reproduction_table
from wegeft.tables.rows import OurRow, rows_and_repeats
from wegeft.tables.steps import step_tables
from wegeft.tables.table import Table
from wegeft.tables.undeclared import undeclared

FORMS = {
    "md": markdown.render,
    "tex": latex.render,
    "csv": plain.render_csv,
    "json": plain.render_json,
}
INDEX = "README.md"
RATIO_DEFINITIONS = DEFINITIONS / "ratios"
REPORTS = "efficiency"
"""Folder beside the records where ``+experiment=efficiency`` writes its reports."""


@dataclass(frozen=True)
class Rendering:
    """What one rendering made, and what it could not use."""

    tables: tuple[Table, ...]
    rows: tuple[OurRow, ...]
    definitions: tuple[Definition, ...]
    problems: tuple[Problem, ...]


def make_all(records_dir: Path, paper: Path, definitions: Path = DEFINITIONS, curves: bool = False) -> Rendering:
    """Every table of the records in ``records_dir``; a broken input costs the tables that need it and no other.

    No table shows a loss curve; whoever draws the rows asks for their ``curves``.
    """
    records, problems = read_records(records_dir, curves)
    loaded = load_definitions(definitions)
    rows, repeats = rows_and_repeats(records)
    tables, more = make_tables(rows, paper, loaded, known_tasks())
    steps, unread = step_tables(records_dir.parent / REPORTS)
    return Rendering((*tables, *steps), tuple(rows), tuple(loaded), (*problems, *repeats, *more, *unread))


def render_all(
    records_dir: Path, paper: Path, out: Path, definitions: Path = DEFINITIONS, curves: bool = False
) -> Rendering:
    """Write every table to ``out``; tables of an earlier rendering that no longer exist are removed."""
    rendering = make_all(records_dir, paper, definitions, curves)
    texts = {f"{table.name}.{form}": render(table) for table in rendering.tables for form, render in FORMS.items()} | {
        INDEX: _index(rendering.tables, rendering.problems)
    }
    for name, text in texts.items():
        _write(out / name, text.encode())
    _remove_old(out, {table.name for table in rendering.tables})
    return rendering


def make_tables(
    rows: Sequence[OurRow], paper: Path, definitions: Sequence[Definition], tasks: Collection[str]
) -> tuple[list[Table], list[Problem]]:
    """The tables of every definition; a definition or published file that fails becomes a problem.

    Args:
        rows: all rows; those of a task without a definition get plain tables.
        paper: folder of published numbers.
        definitions: the families of tables.
        tasks: names of the tasks that exist.
    """
    tables: list[Table] = []
    problems: list[Problem] = []
    checks: list[Check] = []
    not_run = 0
    failed: set[str] = set()
    plain_ones = undeclared(definitions, rows)
    for definition in (*definitions, *plain_ones):
        try:
            settled = definition if definition in plain_ones else settle_task(definition, tasks)
            family = build_tables(settled, rows, paper)
        except UserError as error:
            problems.append(Problem(f"{definition.name}.yaml", str(error)))
            failed.add(definition.task)
            continue
        tables += family.tables
        checks += family.checks
        not_run += family.not_run
    problems += _homeless_rows([row for row in rows if row.key.task not in failed], tables)
    tables += [reproduction_table(checks, not_run), estimates_table(rows)]
    for path in sorted(RATIO_DEFINITIONS.glob("*.yaml")):
        try:
            tables += efficiency_tables(load_efficiency(path), rows, paper)
        except UserError as error:
            problems.append(Problem(path.name, str(error)))
    return tables, problems + _homeless_scores(definitions, rows)


def _homeless_rows(rows: Iterable[OurRow], tables: Iterable[Table]) -> list[Problem]:
    """Rows that no definition takes, e.g. of a backbone that one leaves to another, which wants other scales."""
    lines = (row for table in tables for block in table.blocks for row in block.rows)
    shown = {identity for line in lines for identity in str(line.facts.get("run_ids", "")).split()}
    problems = []
    for row in rows:
        if row.runs[0]["run_id"] not in shown:
            key = row.key
            place = f"task={key.task} scale={key.scale} protocol={key.protocol} model={key.model}"
            message = f"no table takes {place} method={key.method} (seeds {', '.join(map(str, row.seeds))})."
            problems.append(Problem(f"{row.runs[0]['run_id']}.json", message))
    return problems


def _homeless_scores(definitions: Sequence[Definition], rows: Iterable[OurRow]) -> list[Problem]:
    """Scores of a known task that no table has a column for: a renamed subset must not vanish silently."""
    columns: dict[str, set[str]] = {}
    for definition in definitions:
        known = columns.setdefault(definition.task, set())
        for one in (definition, *map(definition.for_section, definition.sections)):
            known.update(subset for column in one.columns for subset in column.subsets)
    problems = []
    for row in rows:
        for run in row.scored if row.key.task in columns else ():
            # "AQuA/strict" is a second extraction rule on AQuA: it is kept in the record and needs no column.
            subsets = {name.partition("/")[0] for name in run["evaluation"]["scores"]}
            for subset in sorted(subsets - columns[row.key.task]):
                message = f"no table of task {row.key.task} has a column for its subset {subset}."
                problems.append(Problem(f"{run['run_id']}.json", message))
    return sorted(problems, key=str)


def _index(tables: Iterable[Table], problems: Iterable[Problem]) -> str:
    lines = [markdown.MARKER, "", "# Tables", "", "| table | our rows | open runs |", "|:--|--:|--:|"]
    for table in tables:
        ours = sum(row.kind == "ours" for block in table.blocks for row in block.rows)
        link = f"[{table.name}]({table.name}.md): {markdown.escape(table.title)}"
        lines.append(f"| {link} | {ours} | {len(table.commands)} |")
    missed = [f"- {markdown.escape(str(problem))}" for problem in problems]
    return "\n".join([*lines, *(["", "## Not used", "", *missed] if missed else [])]) + "\n"


def _remove_old(out: Path, current: set[str]) -> None:
    """Delete tables that this program once wrote here and would not write now."""
    for path in sorted(out.glob("*.md")):
        generated = path.name != INDEX and path.read_text(encoding="utf-8").startswith(markdown.MARKER)
        if generated and path.stem not in current:
            for form in FORMS:
                (out / f"{path.stem}.{form}").unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """Put a file in place, whole; one that says the same is left alone, for flushing it to the disk takes longest."""
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
